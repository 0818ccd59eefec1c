// What the kernels seal, keep and decode against the reference, bit for bit: every scheme, every
// kind of input, in passes of many shapes over several sequences.
#include <gtest/gtest.h>

#include <algorithm>

#include "gpu/registry.h"
#include "tests/gpu/scheme_layer.h"

namespace kvx {
namespace {

using test::Inputs;
using test::kSequences;
using test::kSides;
using test::kSlots;
using test::Layer;
using test::Schedule;

std::string at(Side side, int sequence, int64_t head, int64_t token, int64_t channel) {
  return std::string(side_name(side)) + " sequence " + std::to_string(sequence) + " head " +
         std::to_string(head) + " token " + std::to_string(token) + " channel " +
         std::to_string(channel);
}

uint32_t pattern(float x) { return x != x ? 0x7FC00000u : std::bit_cast<uint32_t>(x); }

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
  test::Compare marks(where + "marks"), outliers(where + "outliers");
  const std::vector<uint32_t> got_marks(got.marks.begin(), got.marks.end());
  const std::vector<uint32_t> expected_marks(expected.marks.begin(), expected.marks.end());
  compare(marks, got_marks, expected_marks, got.dim, 1, 1);
  const auto same_nan = [](const std::vector<uint16_t>& all) {
    std::vector<uint32_t> patterns;
    for (const uint16_t one : all)
      patterns.push_back((one & 0x7FFF) > 0x7C00 ? 0x7E00u : uint32_t{one});
    return patterns;
  };
  compare(outliers, same_nan(got.outliers), same_nan(expected.outliers), got.dim, 1, 1);
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
                   std::min(test::kLengths[s], limit));
    return cache;
  }

  // Sealed content, decoded values and exact rows of all sequences.
  void expect_equal(Layer& layer, const Inputs& inputs, const StoredCache& cache,
                    SeqId first) const {
    std::map<std::string, test::Exported> tensors[kSequences];
    for (int s = 0; s < kSequences; ++s) tensors[s] = test::exported(cache, first + s);
    const int64_t dim = GetParam().dim;
    for (const Side side : kSides) {
      const gpu::SideFormat& format = kernels_->format(side);
      const gpu::SideView view = layer.side(side).host();
      for (int s = 0; s < kSequences; ++s) {
        const int64_t length = layer.length(s);
        const std::vector<gpu::SealedHead> expected =
            test::sealed_heads(tensors[s], format, config_, side,
                               inputs.rows[static_cast<size_t>(side)][static_cast<size_t>(s)],
                               length, kernels_->traits().input == InputType::kBf16);
        // Kernels decode the sink too.
        const int64_t sink = std::min<int64_t>(format.rule.sink, length);
        const int64_t sealed = sink + expected[0].tokens;
        const std::vector<float> decoded = decode(layer, side, s, sealed);
        const auto values = tensors[s].at(std::string(side_name(side)) + ".decoded").as<float>();
        test::Compare reads("decoded"), ring("ring");
        for (int h = 0; h < GetParam().heads; ++h) {
          const gpu::SealedHead& head = expected[static_cast<size_t>(h)];
          const gpu::SealedHead got = layer.side(side).take(view, kSlots[s], h, head.tokens);
          expect_content(got, head, side, s, h, format, kernels_->traits().input);
          for (int64_t t = 0; t < length; ++t) {
            for (int64_t c = 0; c < dim; ++c) {
              const float value = values[static_cast<size_t>((h * length + t) * dim + c)];
              if (t < sealed) {
                const auto i = static_cast<size_t>((t * GetParam().heads + h) * dim + c);
                if (pattern(decoded[i]) != pattern(value))
                  reads(pattern(decoded[i]), pattern(value), at(side, s, h, t, c));
              }
              if (t < sink || t >= sealed) {
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
      std::vector<const Schedule*> schedules = {wide ? &test::kMixed : &test::kAtOnce};
      if (f % 3 == 0) schedules.push_back(wide ? &test::kAtOnce : &test::kBlocks);
      if (f % 3 == 1) schedules.push_back(wide ? &test::kBlocks : &test::kSevens);
      if (f % 3 == 2) schedules.push_back(wide ? &test::kSevens : &test::kMixed);
      if (fill == gen::Fill::kNormal || fill == gen::Fill::kNonFinite)
        schedules.push_back(&test::kOnes);
      const Inputs inputs(fill, GetParam(), type);
      for (const Schedule* schedule : schedules) {
        SCOPED_TRACE(std::string(gen::fill_name(fill)) + (wide ? ", f32, " : ", f16, ") +
                     schedule->name);
        const auto cache = reference(inputs, schedule->limit);
        Layer layer(*kernels_, config_);
        layer.run(inputs, type, *schedule);
        expect_equal(layer, inputs, *cache, 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SchemeKernels, testing::ValuesIn(test::kSchemeCases));

}  // namespace
}  // namespace kvx
