// What the kernels seal, keep and decode against the reference, bit for bit: every scheme, every
// kind of input, in passes of many shapes over several sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpu/registry.h"
#include "tests/gpu/device_side.h"
#include "tests/gpu/scheme_cases.h"

namespace kvx {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};
constexpr int kSequences = 3;
constexpr int64_t kLengths[kSequences] = {601, 45, 301};
constexpr int kSlots[kSequences] = {2, 0, 3};
constexpr int kSlotCount = 4;

// How sequences are cut into passes.
struct Schedule {
  const char* name;
  std::vector<int32_t> counts;  // of a sequence's chunks, over and over
  int64_t limit = 1000;         // tokens of a sequence
  bool look = true;             // for values that are not finite
};
const Schedule kAtOnce{"at once", {1000}}, kOnes{"one by one", {1}, 140}, kSevens{"by 7", {7}},
    kBlocks{"by 128", {128}, 1000, false}, kMixed{"mixed", {1, 300, 31, 64, 5, 129}};

std::string at(Side side, int sequence, int64_t head, int64_t token, int64_t channel) {
  return std::string(side_name(side)) + " sequence " + std::to_string(sequence) + " head " +
         std::to_string(head) + " token " + std::to_string(token) + " channel " +
         std::to_string(channel);
}

uint32_t pattern(float x) { return x != x ? 0x7FC00000u : std::bit_cast<uint32_t>(x); }

bool finite(InputType type, float x) {
  const float rounded = type == InputType::kF32   ? x
                        : type == InputType::kF16 ? num::f16_decode(num::f16_encode(x))
                                                  : num::bf16_decode(num::bf16_encode(x));
  return std::isfinite(rounded);
}

// The inputs of all sequences, K and V.
struct Inputs {
  std::vector<test::Tensor> rows[2];
  Inputs(gen::Fill fill, const test::SchemeCase& c, gpu::ScalarType type) {
    for (uint32_t side = 0; side < 2; ++side) {
      for (uint32_t s = 0; s < kSequences; ++s) {
        rows[side].push_back(test::filled(fill, 21 + s, side, kLengths[s], c.heads, c.dim));
        if (type != gpu::ScalarType::kF16) continue;
        for (float& x : rows[side].back().values) x = num::f16_decode(num::f16_encode(x));
      }
    }
  }
};

// A layer's device memory and the passes that fill it.
class Layer {
 public:
  Layer(const gpu::SchemeKernels& kernels, const CacheConfig& config)
      : kernels_(kernels),
        shape_(shape_of(kernels, config)),
        sides_{test::DeviceSide(kernels.format(Side::kK), shape_, kSlotCount, 700),
               test::DeviceSide(kernels.format(Side::kV), shape_, kSlotCount, 700)},
        key_(1) {}

  test::DeviceSide& side(Side side) { return sides_[static_cast<size_t>(side)]; }
  int64_t length(int sequence) const { return lengths_[sequence]; }
  const gpu::CacheShape& shape() const { return shape_; }

  void run(const Inputs& inputs, gpu::ScalarType type, const Schedule& schedule) {
    for (int pass = 0; append(inputs, type, schedule, pass); ++pass) {
    }
  }

 private:
  static gpu::CacheShape shape_of(const gpu::SchemeKernels& kernels, const CacheConfig& config) {
    int32_t page = gpu::kSegment;
    for (const Side side : kSides)
      if (kernels.format(side).along_tokens) page = std::lcm(page, kernels.format(side).group);
    return {config.shape.kv_heads, config.shape.head_dim, page};
  }

  // One pass; false when all sequences are complete.
  bool append(const Inputs& inputs, gpu::ScalarType type, const Schedule& schedule, int pass) {
    std::vector<gpu::PassSpan> spans;
    std::vector<int> sequences;
    int32_t rows = 0;
    const auto n = static_cast<int>(schedule.counts.size());
    for (int i = 0; i < kSequences; ++i) {
      const int s = (i + pass) % kSequences;
      const int64_t left = std::min(kLengths[s], schedule.limit) - lengths_[s];
      const auto count = static_cast<int32_t>(
          std::min<int64_t>(left, schedule.counts[static_cast<size_t>((pass + s) % n)]));
      if (count == 0 && pass % 2 == 1) continue;  // else a span of nothing
      const auto first = static_cast<int32_t>(lengths_[s]);
      spans.push_back({first, kSlots[s], count, rows, first == 0 && pass % 2 == 0 ? 1 : 0});
      sequences.push_back(s);
      rows += count;
    }
    if (rows == 0) return false;

    const int64_t row = int64_t{shape_.kv_heads} * shape_.head_dim;
    std::vector<float> values[2];
    uint64_t expected = gpu::kAllFinite;
    for (size_t i = 0; i < spans.size(); ++i) {
      for (size_t side = 0; side < 2; ++side) {
        const std::vector<float>& from =
            inputs.rows[side][static_cast<size_t>(sequences[i])].values;
        const auto begin = from.begin() + spans[i].first * row;
        values[side].insert(values[side].end(), begin, begin + spans[i].count * row);
      }
    }
    for (int64_t r = 0; r < rows && expected == gpu::kAllFinite; ++r)
      for (int64_t side = 0; side < 2; ++side)
        for (int64_t c = 0; c < row; ++c)
          if (!finite(kernels_.traits().input, values[side][static_cast<size_t>(r * row + c)]))
            expected = std::min(expected, static_cast<uint64_t>((r * 2 + side) * row + c));

    gpu::DeviceArray<gpu::PassSpan> device_spans(static_cast<int64_t>(spans.size()));
    device_spans.upload(spans);
    gpu::DeviceArray<float> wide[2];
    gpu::DeviceArray<uint16_t> halves[2];
    gpu::AppendArgs args;
    for (size_t side = 0; side < 2; ++side) {
      gpu::PassRows& to = side == 0 ? args.k : args.v;
      to.type = type;
      if (type == gpu::ScalarType::kF32) {
        wide[side] = gpu::DeviceArray<float>(rows * row);
        wide[side].upload(values[side]);
        to.data = wide[side].get();
      } else {
        std::vector<uint16_t> bits;
        for (const float x : values[side]) bits.push_back(num::f16_encode(x));
        halves[side] = gpu::DeviceArray<uint16_t>(rows * row);
        halves[side].upload(bits);
        to.data = halves[side].get();
      }
      args.view[side] = sides_[side].device();
    }
    int32_t longest = 0;
    for (const gpu::PassSpan& span : spans) longest = std::max(longest, span.count);
    // Bounds may be loose.
    args.pass = {device_spans.get(), static_cast<int32_t>(spans.size()), rows,
                 longest + (pass % 3) * 50, 700};
    std::vector<gpu::NonFiniteKey> key = {gpu::kAllFinite};
    key_.upload(key);
    args.non_finite = schedule.look ? key_.get() : nullptr;
    kernels_.append(args, nullptr);
    kernels_.settle(args, nullptr);
    key_.download(key);
    EXPECT_EQ(key[0], schedule.look ? expected : gpu::kAllFinite)
        << "first value that is not finite, pass " << pass;
    for (size_t i = 0; i < spans.size(); ++i) lengths_[sequences[i]] += spans[i].count;
    return true;
  }

  const gpu::SchemeKernels& kernels_;
  gpu::CacheShape shape_;
  test::DeviceSide sides_[2];
  gpu::DeviceArray<gpu::NonFiniteKey> key_;
  int64_t lengths_[kSequences] = {};
};

void expect_content(const gpu::SealedHead& got, const gpu::SealedHead& expected, Side side,
                    int sequence, int64_t head, const gpu::SideFormat& f, InputType type) {
  const std::string where = at(side, sequence, head, 0, 0) + " ";
  test::Compare codes(where + "codes"), scale(where + "scale"), zero(where + "zero");
  const auto compare = [](test::Compare& to, const std::vector<uint32_t>& a,
                          const std::vector<uint32_t>& b, int64_t per_row, int64_t tokens,
                          int64_t channels) {
    to(a.size(), b.size(), "size");
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      const auto n = static_cast<int64_t>(i);
      if (a[i] == b[i]) continue;
      to(a[i], b[i],
         "token " + std::to_string(n / per_row * tokens) + " channel " +
             std::to_string(n % per_row * channels));
    }
  };
  const int64_t groups = f.along_tokens ? got.dim : got.dim / f.group;
  const int64_t tokens = f.along_tokens ? f.group : 1, channels = f.along_tokens ? 1 : f.group;
  // Codes of fp are numbers: NaNs are equal.
  const uint32_t infinity = type == InputType::kF32   ? 0x7F800000u
                            : type == InputType::kF16 ? 0x7C00u
                                                      : 0x7F80u;
  const auto number = [&](std::vector<uint32_t> all) {
    if (f.bits < 16) return all;
    for (uint32_t& code : all)
      if ((code & ((1u << (f.bits - 1)) - 1u)) > infinity) code = infinity + 1;
    return all;
  };
  compare(codes, number(got.codes), number(expected.codes), got.dim, 1, 1);
  compare(scale, got.scale, expected.scale, groups, tokens, channels);
  compare(zero, got.zero, expected.zero, groups, tokens, channels);
}

class SchemeKernels : public testing::TestWithParam<test::SchemeCase> {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
    kernels_ = gpu::make_kernels(Descriptor::parse(GetParam().descriptor), config_);
  }

  std::unique_ptr<StoredCache> reference(const Inputs& inputs, int64_t limit) const {
    auto cache = ref::make_cache(Descriptor::parse(GetParam().descriptor), config_);
    for (size_t s = 0; s < kSequences; ++s)
      test::append(*cache, cache->open(), inputs.rows[0][s], inputs.rows[1][s], 0,
                   std::min(kLengths[s], limit));
    return cache;
  }

  // Sealed content, decoded values and exact rows of all sequences.
  void expect_equal(Layer& layer, const StoredCache& cache, SeqId first) const {
    std::map<std::string, test::Exported> tensors[kSequences];
    for (int s = 0; s < kSequences; ++s) tensors[s] = test::exported(cache, first + s);
    const int64_t dim = GetParam().dim;
    for (const Side side : kSides) {
      const gpu::SideFormat& format = kernels_->format(side);
      const gpu::SideView view = layer.side(side).host();
      for (int s = 0; s < kSequences; ++s) {
        const int64_t length = layer.length(s);
        const std::vector<gpu::SealedHead> expected =
            test::sealed_heads(tensors[s], format, config_, side, length,
                               kernels_->traits().input == InputType::kBf16);
        const std::vector<float> decoded = decode(layer, side, s, expected[0].tokens);
        const auto values = tensors[s].at(std::string(side_name(side)) + ".decoded").as<float>();
        test::Compare reads("decoded"), ring("ring");
        for (int h = 0; h < GetParam().heads; ++h) {
          const gpu::SealedHead& head = expected[static_cast<size_t>(h)];
          const gpu::SealedHead got = layer.side(side).take(view, kSlots[s], h, head.tokens);
          expect_content(got, head, side, s, h, format, kernels_->traits().input);
          for (int64_t t = 0; t < length; ++t) {
            for (int64_t c = 0; c < dim; ++c) {
              const float value = values[static_cast<size_t>((h * length + t) * dim + c)];
              if (t < head.tokens) {
                const auto i = static_cast<size_t>((t * GetParam().heads + h) * dim + c);
                if (pattern(decoded[i]) != pattern(value))
                  reads(pattern(decoded[i]), pattern(value), at(side, s, h, t, c));
              } else {
                const uint16_t bits = view.exact_row(kSlots[s], h, static_cast<int32_t>(t))[c];
                if (pattern(num::f16_decode(bits)) != pattern(value))
                  ring(bits, num::f16_encode(value), at(side, s, h, t, c));
              }
            }
          }
        }
      }
      EXPECT_TRUE(layer.side(side).only_poison_left())
          << side_name(side) << ": written where nothing is stored";
    }
  }

  std::vector<float> decode(Layer& layer, Side side, int sequence, int64_t tokens) const {
    const int64_t row = int64_t{GetParam().heads} * GetParam().dim;
    gpu::DeviceArray<float> out(tokens * row);
    std::vector<float> values(static_cast<size_t>(tokens * row));
    if (tokens == 0) return values;
    // In two calls, the second of which starts inside a group.
    const int64_t cut = tokens / 3;
    gpu::DecodeArgs args{layer.side(side).device(), side, kSlots[sequence], 0, cut, out.get()};
    kernels_->decode(args, nullptr);
    args.first = cut, args.count = tokens - cut, args.out += cut * row;
    kernels_->decode(args, nullptr);
    out.download(values);
    return values;
  }

  const CacheConfig config_ = test::config_of(GetParam(), NonFinite::kPropagate);
  std::unique_ptr<gpu::SchemeKernels> kernels_;
};

TEST_P(SchemeKernels, EqualTheReference) {
  SCOPED_TRACE(test::name_of(GetParam()));
  for (int f = 0; f < gen::kFills && !HasFailure(); ++f) {
    const auto fill = static_cast<gen::Fill>(f);
    for (const auto type : {gpu::ScalarType::kF32, gpu::ScalarType::kF16}) {
      const bool wide = type == gpu::ScalarType::kF32;
      std::vector<const Schedule*> schedules = {wide ? &kMixed : &kAtOnce};
      if (f % 3 == 0) schedules.push_back(wide ? &kAtOnce : &kBlocks);
      if (f % 3 == 1) schedules.push_back(wide ? &kBlocks : &kSevens);
      if (f % 3 == 2) schedules.push_back(wide ? &kSevens : &kMixed);
      if (fill == gen::Fill::kNormal || fill == gen::Fill::kNonFinite) schedules.push_back(&kOnes);
      const Inputs inputs(fill, GetParam(), type);
      for (const Schedule* schedule : schedules) {
        SCOPED_TRACE(std::string(gen::fill_name(fill)) + (wide ? ", f32, " : ", f16, ") +
                     schedule->name);
        const auto cache = reference(inputs, schedule->limit);
        Layer layer(*kernels_, config_);
        layer.run(inputs, type, *schedule);
        expect_equal(layer, *cache, 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SchemeKernels, testing::ValuesIn(test::kSchemeCases));

}  // namespace
}  // namespace kvx
