// What measures the rounding errors of attention's arithmetics: against arithmetic by hand.
#include "tests/support/attention_error.h"

#include <gtest/gtest.h>

#include "sim/num/formats.h"
#include "tests/support/caches.h"

namespace kvx::test {
namespace {

TEST(ExactAttention, ByHand) {
  const float q[] = {2, 0, 0, 0};
  const double log3 = 1.0986122886681098;
  const double k[] = {0, 7, 7, 7, log3, 7, 7, 7};  // scores 0 and log 3: weights 1/4 and 3/4
  const double v[] = {1, -4, 0, 2, 5, 4, 0, -2};
  const ExactAttention exact = exact_attention(q, k, v);
  const double out[] = {4, 2, 0, -1};
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(exact.out[j], out[j], 1e-15);
  EXPECT_NEAR(exact.size, (4 + 4 + 0 + 2) / 4.0, 1e-15);
}

TEST(Fp16Attention, RoundsTheQuery) {
  const float q[] = {2049, -2048, 0, 0};  // 2049 is half-way between 2048 and 2050
  const float k[] = {0, 0, 0, 0, 1, 1, 0, 0};
  const float v[] = {0, 0, 0, 0, 1, 1, 1, 1};
  EXPECT_EQ(fp16_attention(q, k, v)[0], 0.5f);
}

TEST(Fp16Attention, RoundsWeightsButNotTheirSum) {
  const float q[] = {1, 0, 0, 0};
  const float k[] = {-2, 0, 0, 0, 0, 0, 0, 0};  // scores -1 and 0
  const float v[] = {1, 1, 1, 1, 0, 0, 0, 0};
  const double e = 0.36787944117144233;  // exp(-1): 1506.83 of the steps of 2^-12 there
  EXPECT_NEAR(fp16_attention(q, k, v)[0], 1507.0 / 4096 / (1 + e), 1e-7);
}

TEST(OutputError, ByHand) {
  const float found[] = {1, 2};
  const double exact[] = {1, 1};
  OutputError error, other;
  error.add(found, exact, 2);
  EXPECT_DOUBLE_EQ(error.rms(), std::sqrt(0.125));
  EXPECT_EQ(error.worst(), 0.5);
  other.add(found, exact, 1);
  error.add(other);
  EXPECT_DOUBLE_EQ(error.rms(), std::sqrt((0.25 + 1) / 4));
  EXPECT_EQ(error.worst(), 1);
}

// Equal weights over rows that a group of one value holds exactly: their mean, up to the query's
// own position, of its KV head.
TEST(AttentionOutputs, AreThoseOfTheLastPositionsOfEachHead) {
  constexpr int kDim = 32;
  Tensor q(2, 4, kDim), k(3, 2, kDim), v(3, 2, kDim);
  for (int64_t t = 0; t < 3; ++t)
    for (int head = 0; head < 2; ++head)
      std::fill_n(v.view().row(t, head), kDim, static_cast<float>(10 * head + t * t));
  const AttentionOutputs outputs =
      attention_outputs(Descriptor::parse("int:k4v4"), 0, q.view(), k.view(), v.view());
  const double means[] = {0.5, 5.0 / 3};  // of 0, 1 and of 0, 1, 4
  for (size_t head = 0; head < 4; ++head) {
    for (size_t query = 0; query < 2; ++query) {
      const double mean = (head < 2 ? 0 : 10) + means[query];
      const size_t at = head * 2 + query;
      EXPECT_NEAR(outputs.exact[at * kDim + 5], mean, 1e-12) << head << " " << query;
      EXPECT_NEAR(outputs.size[at], mean, 1e-12);
      for (const std::vector<float>& found : outputs.found)
        EXPECT_NEAR(found[at * kDim + 5], mean, 1e-3) << head << " " << query;
    }
  }
}

// One row is its own attention: what is left is how the arithmetic takes code * s + z.
TEST(AttentionOutputs, OfOneRowAreItsValuesAsTheArithmeticTakesThem) {
  constexpr int kDim = 64;
  const Tensor k(1, 1, kDim);  // a score of 0, so a weight of 1
  const Tensor v = filled(gen::Fill::kNormal, 7, 2, 1, 1, kDim);
  const AttentionOutputs outputs =
      attention_outputs(Descriptor::parse("int:k8v8"), 0, k.view(), k.view(), v.view());
  const auto found = [&](Rounding rounding, size_t j) {
    return outputs.found[static_cast<size_t>(rounding)][j];
  };
  const auto cache = make("int:k8v8", 1, kDim);
  const SeqId seq = cache->open();
  append(*cache, seq, k, v, 0, 1);
  Tensor decoded(1, 1, kDim);
  cache->read(seq, Side::kV, {0, 1, Held::kSealed}, decoded.view());
  int differ = 0;
  for (size_t j = 0; j < kDim; ++j) {
    const auto rounded = static_cast<float>(outputs.exact[j]);
    EXPECT_EQ(found(Rounding::kIeee, j), rounded);
    EXPECT_EQ(found(Rounding::kIeeeDecoded, j), decoded.values[j]);
    EXPECT_EQ(found(Rounding::kFp16, j), num::f16_round(rounded));
    differ += found(Rounding::kFp16, j) != rounded;
    // Digits of p * s are 2^-16 of the greatest, sums of zeros 2^-14 (fixed.md, 5).
    EXPECT_NEAR(found(Rounding::kFixed, j), outputs.exact[j], 2e-4);
  }
  EXPECT_GT(differ, kDim / 2);
}

// Groups along tokens leave the newest rows exact.
TEST(AttentionOutputs, ErrorsOfNormalRowsAreInOrder) {
  const Tensor q = filled(gen::Fill::kNormal, 8, 0, 4, 4, 64);
  const Tensor k = filled(gen::Fill::kNormal, 8, 1, 250, 2, 64);
  const Tensor v = filled(gen::Fill::kNormal, 8, 2, 250, 2, 64);
  for (const char* scheme : {"int:k4v4", "int:k4v4,kaxis=channel,g64", "kivi:k4v4", "kivi:k2v2"}) {
    const AttentionOutputs outputs =
        attention_outputs(Descriptor::parse(scheme), 0, q.view(), k.view(), v.view());
    for (const HeadErrors& head : head_errors(outputs)) {
      const double ieee = head[0].rms(), fixed = head[2].rms(), fp16 = head[3].rms();
      EXPECT_LT(ieee, 1e-6) << scheme;
      EXPECT_LT(ieee, fixed) << scheme;
      EXPECT_LT(2 * fixed, fp16) << scheme;
      EXPECT_LT(fp16, 1e-2) << scheme;
    }
  }
}

}  // namespace
}  // namespace kvx::test
