// The elementwise kernels of the engine against the plain loops of sim/num, bit for bit.
#include "gpu/engine/elementwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "gpu/cache/guarded.h"
#include "gpu/common/memory.h"
#include "gpu/registry.h"
#include "sim/gen/fill.h"
#include "sim/num/elementary.h"
#include "sim/num/reduce.h"
#include "sim/num/rope.h"
#include "tests/gpu/on_device.h"

namespace kvx::gpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

class Elementwise : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

std::vector<float> filled(gen::Fill kind, uint32_t tensor, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  gen::fill(kind, 20240131, tensor, {1, 1}, 0, values);
  return values;
}

uint32_t pattern(float x) { return x != x ? 0x7FC00000u : std::bit_cast<uint32_t>(x); }

// All values equal as bits; the first few that are not are shown.
void expect_same(const std::vector<float>& device, const std::vector<float>& expected,
                 const std::string& what) {
  ASSERT_EQ(device.size(), expected.size()) << what;
  int shown = 0;
  for (size_t i = 0; i < device.size() && shown < 5; ++i) {
    if (pattern(device[i]) == pattern(expected[i])) continue;
    ADD_FAILURE() << what << " [" << i << "]: device " << std::hex << pattern(device[i])
                  << ", expected " << pattern(expected[i]);
    ++shown;
  }
}

TEST_F(Elementwise, NormsRows) {
  constexpr float kEps = 1e-5f;
  for (const gen::Fill kind : {gen::Fill::kNormal, gen::Fill::kHeavy, gen::Fill::kF32Subnormal,
                               gen::Fill::kF32Extreme, gen::Fill::kNonFinite, gen::Fill::kZeros}) {
    for (const int64_t width : {1, 31, 127, 128, 129, 576, 1537, 4096, 5003}) {
      constexpr int64_t kRows = 9;
      const auto x = filled(kind, 1, kRows * width), weight = filled(gen::Fill::kNormal, 2, width);
      const auto device_x = on_device(x), device_weight = on_device(weight);
      const std::vector<int32_t> pick = {8, 0, 3, 3, 7};
      const auto device_pick = on_device(pick);
      const auto expect_rows = [&](const NormArgs& args, auto row_of, const std::string& what) {
        GuardedFloats out;
        NormArgs all = args;
        all.x = device_x.get();
        all.y = out.prepare(args.count * width, nullptr);
        all.weight = device_weight.get();
        all.width = width;
        all.eps = kEps;
        rms_norm(all, nullptr);
        std::vector<float> expected(static_cast<size_t>(args.count * width));
        for (int64_t i = 0; i < args.count; ++i) {
          num::plain::rms_norm({x.data() + row_of(i) * width, static_cast<size_t>(width)}, weight,
                               kEps, {expected.data() + i * width, static_cast<size_t>(width)});
        }
        expect_same(out.collect(what, nullptr), expected,
                    what + ", " + gen::fill_name(kind) + ", width " + std::to_string(width));
      };
      expect_rows(
          {.count = kRows}, [](int64_t i) { return i; }, "all rows");
      expect_rows(
          {.count = 4, .first = 5}, [](int64_t i) { return 5 + i; }, "the last rows");
      expect_rows(
          {.count = 3, .first = 2, .pick = device_pick.get()},
          [&](int64_t i) { return int64_t{pick[static_cast<size_t>(2 + i)]}; }, "picked rows");
    }
  }
}

TEST_F(Elementwise, TurnsEveryRowByItsPosition) {
  for (const int dim : {2, 64, 80, 128}) {
    const std::vector<uint64_t> steps = num::rope_steps(dim, 500000.0, {}, {});
    const std::vector<PassSpan> spans = {{.first = 0, .count = 5, .row = 0},
                                         {.first = 131000, .count = 1, .row = 5},
                                         {.first = 77, .count = 300, .row = 6},
                                         {.first = 2047, .count = 1, .row = 306}};
    constexpr int32_t kRows = 307;
    const auto device_steps = on_device(steps);
    const auto device_spans = on_device(spans);
    const size_t pairs = steps.size();
    GuardedFloats out;
    float* table = out.prepare(kRows * dim, nullptr);
    rotary_table({.spans = device_spans.get(), .span_count = 4, .rows = kRows}, device_steps.get(),
                 dim / 2, reinterpret_cast<float2*>(table), nullptr);
    std::vector<float> expected;
    for (const PassSpan& span : spans) {
      for (int32_t i = 0; i < span.count; ++i) {
        std::vector<float> sin(pairs), cos(pairs);
        num::rope_table(steps, span.first + i, sin, cos);
        for (size_t p = 0; p < pairs; ++p) {
          expected.push_back(sin[p]);
          expected.push_back(cos[p]);
        }
      }
    }
    expect_same(out.collect("rotary_table", nullptr), expected, "dim " + std::to_string(dim));
  }
}

struct HeadCase {
  int64_t rows;
  int heads, kv_heads, dim;
  bool norms, pre;
};

// Rows of q, k, v as the products give them, and what they should become.
class Heads {
 public:
  Heads(const HeadCase& shape, gen::Fill kind)
      : c_(shape), qkv_(filled(kind, 3, shape.rows * width())) {
    for (int64_t i = 0; i < shape.rows * shape.dim; i += 2) {
      const num::SinCos turn = num::sincos_phase(static_cast<uint32_t>(i) * 0x12345679u);
      table_.push_back(turn.sin);
      table_.push_back(turn.cos);
    }
    q_norm_ = filled(gen::Fill::kNormal, 4, shape.dim);
    k_norm_ = filled(gen::Fill::kNormal, 5, shape.dim);
  }
  std::vector<float>& qkv() { return qkv_; }
  int64_t width() const { return (c_.heads + 2 * c_.kv_heads) * c_.dim; }

  // Runs the kernel; gives the note, and compares the rest if asked to.
  NonFiniteNote run(InputType input, bool compare, const std::string& what,
                    bool stores_unrotated = false) {
    const auto device_qkv = on_device(qkv_), table = on_device(table_);
    const auto q_norm = on_device(q_norm_), k_norm = on_device(k_norm_);
    const auto note = on_device(std::vector<NonFiniteNote>{kNothingNoted});
    GuardedFloats q, k, v, q_pre, k_pre;
    const int64_t q_floats = c_.rows * c_.heads * c_.dim,
                  kv_floats = c_.rows * c_.kv_heads * c_.dim;
    split_heads({.qkv = device_qkv.get(),
                 .rows = c_.rows,
                 .heads = c_.heads,
                 .kv_heads = c_.kv_heads,
                 .dim = c_.dim,
                 .q_norm = c_.norms ? q_norm.get() : nullptr,
                 .k_norm = c_.norms ? k_norm.get() : nullptr,
                 .eps = 1e-6f,
                 .rotary = reinterpret_cast<const float2*>(table.get()),
                 .q = q.prepare(q_floats, nullptr),
                 .k = k.prepare(kv_floats, nullptr),
                 .v = v.prepare(kv_floats, nullptr),
                 .q_pre = c_.pre ? q_pre.prepare(q_floats, nullptr) : nullptr,
                 .k_pre = c_.pre ? k_pre.prepare(kv_floats, nullptr) : nullptr,
                 .stores_unrotated = stores_unrotated,
                 .note = note.get(),
                 .input = input},
                nullptr);
    NonFiniteNote noted = 0;
    note.download({&noted, 1});
    if (!compare) return noted;
    const std::vector<float> outputs[] = {q.collect("q", nullptr), k.collect("k", nullptr),
                                          v.collect("v", nullptr)};
    for (int part = 0; part < 3; ++part)
      expect_same(outputs[part], expected(part, true),
                  what + (part == 0   ? ", q"
                          : part == 1 ? ", k"
                                      : ", v"));
    if (c_.pre) {
      expect_same(q_pre.collect("q_pre", nullptr), expected(0, false), what + ", q before");
      expect_same(k_pre.collect("k_pre", nullptr), expected(1, false), what + ", k before");
    }
    return noted;
  }

 private:
  // part: 0 q, 1 k, 2 v.
  std::vector<float> expected(int part, bool rotated) const {
    const int heads = part == 0 ? c_.heads : c_.kv_heads;
    const int first = part == 0 ? 0 : part == 1 ? c_.heads : c_.heads + c_.kv_heads;
    const size_t dim = static_cast<size_t>(c_.dim), half = dim / 2;
    std::vector<float> out;
    for (int64_t row = 0; row < c_.rows; ++row) {
      std::vector<float> sin(half), cos(half);
      for (size_t i = 0; i < half; ++i) {
        sin[i] = table_[(static_cast<size_t>(row) * half + i) * 2];
        cos[i] = table_[(static_cast<size_t>(row) * half + i) * 2 + 1];
      }
      for (int head = 0; head < heads; ++head) {
        const auto from = qkv_.begin() + row * width() + (first + head) * c_.dim;
        std::vector<float> x(from, from + c_.dim);
        if (part < 2 && c_.norms) {
          std::vector<float> y(dim);
          num::plain::rms_norm(x, part == 0 ? q_norm_ : k_norm_, 1e-6f, y);
          x = y;
        }
        if (part < 2 && rotated) num::rope_rotate(x, sin, cos);
        out.insert(out.end(), x.begin(), x.end());
      }
    }
    return out;
  }

  HeadCase c_;
  std::vector<float> qkv_, table_, q_norm_, k_norm_;
};

TEST_F(Elementwise, SplitsNormsAndRotatesHeads) {
  for (const int dim : {8, 16, 48, 64, 80, 128, 136, 256}) {
    for (const bool norms : {false, true}) {
      for (const gen::Fill kind : {gen::Fill::kNormal, gen::Fill::kF32Subnormal}) {
        Heads heads(
            {.rows = 7, .heads = 6, .kv_heads = 2, .dim = dim, .norms = norms, .pre = norms}, kind);
        const std::string what =
            "dim " + std::to_string(dim) + (norms ? ", normed, " : ", ") + gen::fill_name(kind);
        EXPECT_EQ(heads.run(InputType::kF32, true, what), kNothingNoted) << what;
      }
    }
  }
  Heads one({.rows = 1, .heads = 1, .kv_heads = 1, .dim = 64, .norms = false, .pre = true},
            gen::Fill::kNormal);
  EXPECT_EQ(one.run(InputType::kF16, true, "one row"), kNothingNoted);
}

TEST_F(Elementwise, NotesTheFirstValueThatIsNotFinite) {
  const HeadCase shape{
      .rows = 5, .heads = 4, .kv_heads = 2, .dim = 16, .norms = false, .pre = false};
  const auto note_of = [](int64_t place, float value) {
    return static_cast<NonFiniteNote>(place) << 32 | std::bit_cast<uint32_t>(value);
  };
  constexpr int64_t kV = 5 * 2 * 16;  // places of K
  const auto v_at = [&](int64_t row, int64_t head, int64_t channel) {
    return static_cast<size_t>(row * 8 * 16 + (4 + 2 + head) * 16 + channel);
  };
  struct Case {
    InputType input;
    float last_finite, first_not;
  };
  for (const Case& c : {Case{InputType::kF16, 0x1.ffdffep+15f, 65520.0f},
                        Case{InputType::kBf16, 0x1.fefffep+127f, 0x1.ffp+127f},
                        Case{InputType::kF32, std::numeric_limits<float>::max(), kInf}}) {
    Heads heads(shape, gen::Fill::kNormal);
    heads.qkv()[v_at(1, 0, 3)] = -c.last_finite;
    heads.qkv()[v_at(4, 1, 15)] = c.last_finite;
    EXPECT_EQ(heads.run(c.input, false, ""), kNothingNoted);
    heads.qkv()[v_at(4, 0, 2)] = -c.first_not;
    EXPECT_EQ(heads.run(c.input, false, ""), note_of(kV + (4 * 2 + 0) * 16 + 2, -c.first_not));
    heads.qkv()[v_at(2, 1, 7)] = c.first_not;
    EXPECT_EQ(heads.run(c.input, false, ""), note_of(kV + (2 * 2 + 1) * 16 + 7, c.first_not));
  }
  // A query may be anything; a key that is none spoils both channels of its pair and counts first.
  Heads heads(shape, gen::Fill::kNormal);
  heads.qkv()[2 * 16 + 5] = kInf;
  EXPECT_EQ(heads.run(InputType::kF16, false, ""), kNothingNoted);
  heads.qkv()[v_at(0, 0, 0)] = kInf;
  heads.qkv()[static_cast<size_t>(3 * 8 * 16 + 5 * 16 + 12)] = kNan;  // k, row 3, head 1
  const NonFiniteNote noted = heads.run(InputType::kF16, false, "");
  EXPECT_EQ(noted >> 32, NonFiniteNote{(3 * 2 + 1) * 16 + 4});
  EXPECT_TRUE(std::isnan(std::bit_cast<float>(static_cast<uint32_t>(noted))));
  // Before rotation it is the only one.
  EXPECT_EQ(heads.run(InputType::kF16, false, "", true) >> 32,
            NonFiniteNote{(3 * 2 + 1) * 16 + 12});
}

TEST_F(Elementwise, GatesInPlace) {
  for (const gen::Fill kind : {gen::Fill::kNormal, gen::Fill::kHeavy, gen::Fill::kNonFinite,
                               gen::Fill::kF32Extreme, gen::Fill::kF32Subnormal}) {
    for (const int64_t width : {1, 96, 172, 257, 1536}) {
      constexpr int64_t kRows = 5;
      std::vector<float> rows = filled(kind, 6, kRows * 2 * width);
      const auto gate_up = on_device(rows);
      swiglu(gate_up.get(), kRows, width, nullptr);
      std::vector<float> out(rows.size());
      gate_up.download(out);
      for (int64_t r = 0; r < kRows; ++r) {
        const std::span<float> g(rows.data() + r * 2 * width, static_cast<size_t>(width));
        num::plain::swiglu(g, {g.data() + width, g.size()}, g);
      }
      expect_same(out, rows, std::string(gen::fill_name(kind)) + " " + std::to_string(width));
    }
  }
}

TEST_F(Elementwise, ChoosesTheGreatestLogit) {
  std::vector<std::vector<float>> rows;
  for (const int64_t vocab : {1, 300, 4096, 4097, 151936}) {
    rows.clear();
    const size_t n = static_cast<size_t>(vocab);
    rows.push_back(filled(gen::Fill::kNormal, 7, vocab));
    rows.push_back(filled(gen::Fill::kNonFinite, 8, vocab));
    rows.push_back(filled(gen::Fill::kZeros, 9, vocab));
    rows.emplace_back(n, kNan);
    rows.emplace_back(n, -kInf);
    rows.emplace_back(n, -3.5f);
    rows.emplace_back(n, -0.0f);
    rows.back().back() = 0.0f;  // equal to the others: the first one is chosen
    rows.emplace_back(n, kNan);
    rows.back()[n / 2] = -std::numeric_limits<float>::denorm_min();
    rows.back().back() = -std::numeric_limits<float>::denorm_min();
    std::vector<float> all;
    for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
    const auto logits = on_device(all);
    const auto choices = on_device(std::vector<Choice>(rows.size(), 0));
    choose_greatest(logits.get(), static_cast<int64_t>(rows.size()), vocab, choices.get(), nullptr);
    std::vector<Choice> out(rows.size());
    choices.download(out);
    for (size_t r = 0; r < rows.size(); ++r)
      EXPECT_EQ(chosen_id(out[r]), num::plain::argmax(rows[r])) << "row " << r << " of " << vocab;
  }
}

TEST_F(Elementwise, EndsAStepOfDecoding) {
  constexpr int32_t kCount = 3, kLayers = 130;
  const auto choice = [](uint32_t id) { return Choice{1} << 63 | (0xFFFFFFFFu - id); };
  const auto state = on_device(std::vector<GreedyState>{{.step = 1}});
  const auto ids = on_device(std::vector<int32_t>(3 * kCount, -7));
  const auto tokens = on_device(std::vector<int32_t>(kCount, -7));
  const auto spans = on_device(std::vector<PassSpan>{
      {.first = 5, .slot = 2, .count = 1}, {.first = 0, .count = 1, .row = 1}, {.first = 9}});
  auto choices = on_device(std::vector<Choice>{choice(17), 0, choice(0)});
  std::vector<NonFiniteNote> marks(kLayers, kNothingNoted);
  auto notes = on_device(marks);
  const StepArgs args{.state = state.get(),
                      .choices = choices.get(),
                      .ids = ids.get(),
                      .tokens = tokens.get(),
                      .spans = spans.get(),
                      .count = kCount,
                      .notes = notes.get(),
                      .layers = kLayers};
  end_greedy_step(args, nullptr);
  marks[129] = 11;
  marks[128] = 12;
  notes.upload(marks);
  choices.upload(std::vector<Choice>{choice(1), choice(2), choice(3)});
  end_greedy_step(args, nullptr);

  std::vector<int32_t> got(3 * kCount), fed(kCount);
  ids.download(got);
  tokens.download(fed);
  EXPECT_EQ(got, (std::vector<int32_t>{-7, -7, -7, 17, -1, 0, 1, 2, 3}));
  EXPECT_EQ(fed, (std::vector<int32_t>{1, 2, 3}));
  std::vector<Choice> left(kCount);
  choices.download(left);
  EXPECT_EQ(left, std::vector<Choice>(kCount, 0));
  std::vector<PassSpan> moved(kCount);
  spans.download(moved);
  EXPECT_EQ(moved[0].first, 7);
  EXPECT_EQ(moved[0].slot, 2);
  EXPECT_EQ(moved[1].first, 2);
  EXPECT_EQ(moved[2].first, 11);
  GreedyState end;
  state.download({&end, 1});
  EXPECT_EQ(end.step, 3);
  EXPECT_EQ(end.failed_step, 2);
  EXPECT_EQ(end.failed_layer, 128);
  EXPECT_EQ(end.note, NonFiniteNote{12});
}

}  // namespace
}  // namespace kvx::gpu
