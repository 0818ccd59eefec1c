#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "eval/stats.h"

namespace kvx::eval {
namespace {

TEST(Mean, IsTheSumOverTheCount) {
  EXPECT_EQ(mean(std::vector<double>{1, 2, 6}), 3);
  EXPECT_TRUE(std::isnan(mean({})));
}

// numpy.percentile([15, 20, 35, 40, 50], [0, 5, 40, 99.9, 100]).
TEST(Percentile, InterpolatesLinearlyAsNumpy) {
  const std::vector<double> values{50, 15, 40, 20, 35};
  EXPECT_EQ(percentile(values, 0), 15);
  EXPECT_DOUBLE_EQ(percentile(values, 0.05), 16);
  EXPECT_DOUBLE_EQ(percentile(values, 0.40), 29);
  EXPECT_DOUBLE_EQ(percentile(values, 0.999), 49.96);
  EXPECT_EQ(percentile(values, 1), 50);
  EXPECT_EQ(percentile({7}, 0.999), 7);
}

TEST(Percentile, OfNothingOrNanIsNan) {
  EXPECT_TRUE(std::isnan(percentile({}, 0.5)));
  EXPECT_TRUE(std::isnan(percentile({1, std::numeric_limits<double>::quiet_NaN(), 3}, 0)));
}

// Two windows have four equally likely resamples: differences d0, (d0 + d1) / 2 twice, d1. With
// quarters at both ends the 2.5 % and 97.5 % percentiles are the ends themselves.
TEST(Bootstrap, TwoWindowsGiveTheirRange) {
  const std::vector<double> subject{3.5, 5}, base{3, 3};
  const auto interval = paired_bootstrap(subject, base, 1, std::minus<double>());
  ASSERT_TRUE(interval);
  EXPECT_EQ(*interval, (Interval{0.5, 2}));
}

// All 5^5 resamples of five pairs, one by one, give the exact distribution of the mean difference.
TEST(Bootstrap, AgreesWithTheFullEnumeration) {
  const std::vector<double> subject{2.1, 2.9, 1.7, 3.3, 2.4}, base{2.0, 2.5, 1.8, 2.6, 2.3};
  std::vector<double> all;
  for (int code = 0; code < 3125; ++code) {
    double sum = 0;
    for (int i = 0, rest = code; i < 5; ++i, rest /= 5)
      sum += subject[static_cast<size_t>(rest % 5)] - base[static_cast<size_t>(rest % 5)];
    all.push_back(sum / 5);
  }
  const auto interval = paired_bootstrap(subject, base, 7, std::minus<double>(), 400000);
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->low, percentile(all, 0.025), 0.011);
  EXPECT_NEAR(interval->high, percentile(all, 0.975), 0.011);
  EXPECT_LT(interval->low, 0.05);
  EXPECT_GT(interval->high, 0.4);
}

TEST(Bootstrap, PairsAreDrawnTogether) {
  const std::vector<double> base{1, 5, 2, 9, 4};
  std::vector<double> subject = base;
  for (double& value : subject) value += 0.25;
  const auto interval = paired_bootstrap(subject, base, 3, std::minus<double>());
  ASSERT_TRUE(interval);
  EXPECT_DOUBLE_EQ(interval->low, 0.25);
  EXPECT_DOUBLE_EQ(interval->high, 0.25);
}

TEST(Bootstrap, DependsOnTheSeedAlone) {
  const std::vector<double> subject{2.1, 2.9, 1.7, 3.3}, base{2, 2.5, 1.8, 2.6};
  const auto run = [&](uint64_t seed) {
    return *paired_bootstrap(subject, base, seed, std::minus<double>(), 50);
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1).low, run(2).low);
}

TEST(Bootstrap, OneWindowHasNoInterval) {
  EXPECT_FALSE(
      paired_bootstrap(std::vector<double>{1}, std::vector<double>{2}, 1, std::minus<double>()));
}

// SplitMix64 of seed 1234567 starts with 6457827717110365317, 3203168211198807973 (Vigna's
// reference).
TEST(BootstrapIndex, IsSplitMix64) {
  const auto expected = [](uint64_t word, uint64_t count) {
    return static_cast<int64_t>(((word >> 32) * count) >> 32);
  };
  EXPECT_EQ(bootstrap_index(1234567, 0, 1000000), expected(6457827717110365317ULL, 1000000));
  EXPECT_EQ(bootstrap_index(1234567, 1, 1000000), expected(3203168211198807973ULL, 1000000));
}

TEST(BootstrapIndex, ReachesEveryWindowAboutEquallyOften) {
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 70000; ++i) ++counts.at(static_cast<size_t>(bootstrap_index(5, i, 7)));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

}  // namespace
}  // namespace kvx::eval
