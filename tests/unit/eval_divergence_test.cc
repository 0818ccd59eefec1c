// Statistics beside the base, and scores by position.
#include <gtest/gtest.h>

#include <cmath>

#include "eval/bins.h"
#include "eval/divergence.h"

namespace kvx::eval {
namespace {

struct Scores {
  std::vector<double> nll, base_nll, kl, same_top;
};

Scores some_scores(int n) {
  Scores out;
  for (int i = 0; i < n; ++i) {
    out.base_nll.push_back(1 + (i * 37 % 101) / 50.0);
    out.nll.push_back(out.base_nll.back() + (i * 53 % 97 - 40) / 400.0);
    out.kl.push_back((i * 29 % 113) * (i * 29 % 113) / 20000.0);
    out.same_top.push_back(i % 7 != 0 ? 1 : 0);
  }
  return out;
}

Divergence of(const Scores& s) { return divergence(s.nll, s.base_nll, s.kl, s.same_top); }

// Expected: NumPy on the same 120 scores. Errors of differences from the differences themselves,
// the correlation by numpy.corrcoef, percentiles by numpy.percentile.
TEST(Divergence, AgreesWithNumpy) {
  const std::vector<std::pair<const char*, double>> expected{
      {"ppl", 7.42501100369},
      {"ppl_error", 0.40451994833},
      {"base_ppl", 7.29483575268},
      {"base_ppl_error", 0.389905477577},
      {"correlation", 0.993002328425},
      {"log_ppl_ratio", 0.0176875},
      {"log_ppl_ratio_error", 0.00646663507051},
      {"ppl_ratio", 1.01784485017},
      {"ppl_ratio_error", 0.00658203120444},
      {"ppl_difference", 0.130175251018},
      {"ppl_difference_error", 0.049203575753},
      {"kl_mean", 0.204636666667},
      {"kl_mean_error", 0.0171395437509},
      {"kl_max", 0.6272},
      {"kl_99.9", 0.62587315},
      {"kl_99", 0.6139505},
      {"kl_95", 0.5623325},
      {"kl_90", 0.501005},
      {"kl_50", 0.154025},
      {"kl_10", 0.004905},
      {"kl_5", 0.0007825},
      {"kl_1", 9.5e-06},
      {"kl_0.1", 0},
      {"kl_min", 0},
      {"delta_p_mean", -0.00158471633513},
      {"delta_p_mean_error", 0.00121727328433},
      {"delta_p_max", 0.0386902185692},
      {"delta_p_99.9", 0.0383083261973},
      {"delta_p_99", 0.0349178090176},
      {"delta_p_95", 0.0228777279188},
      {"delta_p_90", 0.0158796157585},
      {"delta_p_75", 0.0046055405088},
      {"delta_p_50", -0.00179244344517},
      {"delta_p_25", -0.0090064439019},
      {"delta_p_10", -0.0174068564981},
      {"delta_p_5", -0.0223886969631},
      {"delta_p_1", -0.0305739854931},
      {"delta_p_0.1", -0.0317300536045},
      {"delta_p_min", -0.0318588474865},
      {"delta_p_rms", 0.0133731103885},
      {"delta_p_rms_error", 0.000986830662246},
      {"same_top", 0.85},
      {"same_top_error", 0.0327326835354},
  };
  const auto fields = divergence_fields(of(some_scores(120)));
  ASSERT_EQ(fields.size(), expected.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    EXPECT_EQ(fields[i].first, expected[i].first);
    EXPECT_NEAR(fields[i].second, expected[i].second, 1e-9 * (1 + std::abs(expected[i].second)))
        << expected[i].first;
  }
}

TEST(Divergence, OfTheBaseItselfIsExactlyNothing) {
  Scores s = some_scores(50);
  s.nll = s.base_nll;
  s.kl.assign(50, 0);
  s.same_top.assign(50, 1);
  const Divergence d = of(s);
  EXPECT_EQ(d.ppl_ratio.value, 1);
  EXPECT_EQ(d.ppl_difference.value, 0);
  EXPECT_NEAR(d.ppl_difference.error, 0, 1e-7);
  EXPECT_EQ(d.kl_mean.value, 0);
  EXPECT_EQ(d.kl_mean.error, 0);
  EXPECT_EQ(d.kl_max, 0);
  EXPECT_EQ(d.delta_p_rms.value, 0);
  EXPECT_EQ(d.delta_p_rms.error, 0);
  EXPECT_EQ(d.same_top.value, 1);
  EXPECT_EQ(d.same_top.error, 0);
}

// The limits of llama.cpp's statistics: errors from 11 positions on, covariances from 10,
// percentiles printed from 100.
TEST(Divergence, NeedsPositions) {
  for (const int n : {10, 11}) {
    const Divergence d = of(some_scores(n));
    for (const double error :
         {d.ppl.error, d.base_ppl.error, d.log_ppl_ratio.error, d.ppl_difference.error,
          d.kl_mean.error, d.delta_p_mean.error, d.delta_p_rms.error, d.same_top.error})
      EXPECT_EQ(error > 0, n == 11) << n;
  }
  EXPECT_EQ(divergence_text(of(some_scores(99))).find("99.9 % KLD"), std::string::npos);
  EXPECT_NE(divergence_text(of(some_scores(100))).find("99.9 % KLD"), std::string::npos);
  EXPECT_EQ(of(some_scores(1)).kl_max, of(some_scores(1)).kl_min);
}

TEST(Divergence, KeepsNan) {
  Scores s = some_scores(120);
  s.kl[7] = std::nan("");
  const Divergence d = of(s);
  EXPECT_TRUE(std::isnan(d.kl_mean.value));
  EXPECT_TRUE(std::isnan(d.kl_max));
  EXPECT_TRUE(std::isnan(d.kl[4]));
  EXPECT_TRUE(std::isnan(d.kl_min));
  EXPECT_FALSE(std::isnan(d.delta_p_rms.value));
}

TEST(Divergence, TextShowsSmallDivergences) {
  Scores s = some_scores(120);
  s.kl.assign(120, 4.0512e-7);
  EXPECT_NE(divergence_text(of(s)).find("4.0512e-07"), std::string::npos);
}

// Two windows of 10 tokens, positions 4 to 8 scored, bins of ceil(10 / 4) = 3 positions: 3-5 holds
// two of each window, 6-8 three, 0-2 and 9 none.
TEST(PositionBins, HoldThePositionsOfAllWindows) {
  PositionScores scores(10), base(10);
  for (size_t i = 0; i < 10; ++i) {
    scores.nll[i] = static_cast<double>(i);
    base.nll[i] = 1;
    scores.kl[i] = 10 * static_cast<double>(i);
    scores.same_top[i] = i < 5 ? 1 : 0;
  }
  const auto bins = position_bins(scores, base, 4, 5, 10, 4);
  ASSERT_EQ(bins.size(), 2u);
  EXPECT_EQ(bins[0].first, 3);
  EXPECT_EQ(bins[0].end, 6);
  EXPECT_EQ(bins[0].targets, 4);
  EXPECT_EQ(bins[0].nll, (0 + 1 + 5 + 6) / 4.0);
  EXPECT_EQ(bins[0].ppl, std::exp(3.0));
  EXPECT_EQ(bins[0].delta_ppl, std::exp(3.0) - std::exp(1.0));
  EXPECT_EQ(bins[0].kl_mean, 30);
  EXPECT_EQ(bins[0].same_top, 0.5);
  EXPECT_EQ(bins[1].first, 6);
  EXPECT_EQ(bins[1].end, 9);
  EXPECT_EQ(bins[1].targets, 6);
  EXPECT_EQ(bins[1].nll, (2 + 3 + 4 + 7 + 8 + 9) / 6.0);
  EXPECT_EQ(position_bins(scores, base, 4, 5, 10, 100).size(), 5u);
  EXPECT_EQ(position_bins(scores, base, 4, 5, 10, 1).front().targets, 10);
}

}  // namespace
}  // namespace kvx::eval
