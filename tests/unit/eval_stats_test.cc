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

// Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3.
TEST(Wilson, GivesNewcombesIntervals) {
  const auto near = [](Interval interval, double low, double high) {
    EXPECT_NEAR(interval.low, low, 5e-5);
    EXPECT_NEAR(interval.high, high, 5e-5);
  };
  near(wilson_interval(81, 263), 0.2553, 0.3662);
  near(wilson_interval(15, 148), 0.0624, 0.1605);
  near(wilson_interval(0, 20), 0, 0.1611);
  near(wilson_interval(1, 29), 0.0061, 0.1718);
}

TEST(Wilson, EndsAreExactAndMirrored) {
  EXPECT_EQ(wilson_interval(0, 20).low, 0);
  EXPECT_EQ(wilson_interval(20, 20).high, 1);
  EXPECT_NEAR(wilson_interval(20, 20).low, 1 - wilson_interval(0, 20).high, 1e-15);
  EXPECT_EQ(wilson_interval(0, 0), (Interval{0, 1}));
}

// 2 * sum of C(n, k) / 2^n in exact fractions (CPython); 1 and 9: 2 * (1 + 10) / 1024.
TEST(McNemar, IsTwiceTheBinomialTail) {
  const auto p = [](int64_t lost, int64_t gained) {
    return mcnemar_exact({.items = 20000, .lost = lost, .gained = gained});
  };
  EXPECT_DOUBLE_EQ(p(1, 9), 22.0 / 1024);
  EXPECT_DOUBLE_EQ(p(9, 1), 22.0 / 1024);
  EXPECT_DOUBLE_EQ(p(0, 5), 2.0 / 32);
  EXPECT_DOUBLE_EQ(p(10, 25), 0.01667384780012071);
  EXPECT_DOUBLE_EQ(p(20, 3), 0.00048828125);
  EXPECT_DOUBLE_EQ(p(40, 70), 0.005447429511444482);
  EXPECT_NEAR(p(4900, 5100), 0.04658552770494739, 1e-14);
}

TEST(McNemar, IsOneWithoutASurplus) {
  for (const int64_t n : {0, 1, 6, 5000}) EXPECT_EQ(mcnemar_exact({2 * n, n, n}), 1);
  EXPECT_EQ(mcnemar_exact({9, 4, 5}), 1);
  EXPECT_EQ(mcnemar_exact({1, 0, 1}), 1);
}

// Approval of a prime minister in two surveys of 1600 people (Agresti, Categorical Data Analysis,
// table 10.1): 150 changed to disapproval, 86 to approval; -0.04 with error 0.0095.
TEST(PairedDifference, GivesAgrestisExample) {
  const Difference difference = paired_difference({.items = 1600, .lost = 150, .gained = 86});
  EXPECT_DOUBLE_EQ(difference.value, -0.04);
  EXPECT_DOUBLE_EQ(difference.error, std::sqrt(236 - 2.56) / 1600);
  EXPECT_NEAR(difference.error, 0.0095, 5e-5);
}

TEST(PairedDifference, HasNoErrorWhereAllChangeAlikeOrNoneDoes) {
  EXPECT_EQ(paired_difference({7, 7, 0}).value, -1);
  EXPECT_EQ(paired_difference({7, 7, 0}).error, 0);
  EXPECT_EQ(paired_difference({7, 0, 0}).error, 0);
  EXPECT_TRUE(std::isnan(paired_difference({0, 0, 0}).value));
}

}  // namespace
}  // namespace kvx::eval
