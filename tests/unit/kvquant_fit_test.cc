// Percentiles, exact k-means, codebooks and Q-Norm of kvquant. Vectors by hand, brute force and
// arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "ref/kvquant/codebook.h"
#include "sim/num/formats.h"
#include "tests/support/noise.h"

namespace kvx::ref::kvquant {
namespace {

struct Point {
  double u;
  double w;
};

// Every point a bin of its own; `points` ascending.
std::vector<Bin> alone(const std::vector<Point>& points) {
  std::vector<Bin> bins;
  for (const Point& p : points) bins.push_back({p.w, p.w * p.u, p.w * p.u * p.u});
  return bins;
}

double total_cost(const std::vector<Bin>& bins, const std::vector<int64_t>& cuts) {
  const std::vector<Bin> p = prefix_sums(bins);
  double total = cluster_cost(p, cuts[0], cuts[1]);
  for (size_t k = 1; k + 1 < cuts.size(); ++k) total += cluster_cost(p, cuts[k], cuts[k + 1]);
  return total;
}

std::vector<Point> weighted_noise(int64_t count, uint32_t seed) {
  const std::vector<float> u = test::noise(count, seed), w = test::noise(count, seed + 1000);
  std::vector<Point> points;
  for (size_t i = 0; i < u.size(); ++i) {
    const double weight = std::exp2(static_cast<double>(w[i]) * 6);  // over 12 binades
    points.push_back({static_cast<double>(u[i]), weight});
  }
  std::sort(points.begin(), points.end(), [](Point a, Point b) { return a.u < b.u; });
  return points;
}

TEST(KvquantPercentile, InterpolatesLinearly) {
  const std::vector<float> values = {0.5f, -3, 2, -0.125f, 1, -1, 0.75f, 0.25f};
  const auto range = [](std::vector<float> v, int64_t quantile) {
    return percentile_range(v, quantile);
  };
  EXPECT_EQ(range(values, 10).lo, -1.6f);
  EXPECT_EQ(range(values, 10).hi, 1.3f);
  // A whole position: E = 7 of 7 steps is the second value from either end.
  EXPECT_EQ(range(values, 7).lo, -1.0f);
  EXPECT_EQ(range(values, 7).hi, 1.0f);
  EXPECT_EQ(range(values, 0).lo, -3.0f);
  EXPECT_EQ(range(values, 0).hi, 2.0f);
  EXPECT_EQ(range({4}, 200).lo, 4.0f);
  EXPECT_EQ(range({4}, 200).hi, 4.0f);
  // A stored zero is +0.
  EXPECT_FALSE(std::signbit(range({-0.0f, -0.0f}, 0).lo));
  EXPECT_FALSE(std::signbit(range({-0.0f, -0.0f}, 0).hi));
  // 32768 values 0, 1, ...: positions 163.835 and 32603.165 (section 2 of the scheme's sources).
  std::vector<float> many(32768);
  std::iota(many.begin(), many.end(), 0.0f);
  std::rotate(many.begin(), many.begin() + 12345, many.end());
  EXPECT_FLOAT_EQ(range(many, 200).lo, 163.835f);
  EXPECT_FLOAT_EQ(range(many, 200).hi, 32603.165f);
}

TEST(KvquantKmeans, TakesTheLowerCutOnATie) {
  const auto bins = alone({{-1, 1}, {0, 1}, {1, 1}});
  const auto cuts = best_cuts(bins, 2);
  EXPECT_EQ(cuts, (std::vector<int64_t>{0, 1, 3}));
  EXPECT_EQ(centroids(bins, cuts, 2), (std::vector<double>{-1, 0.5}));
}

TEST(KvquantKmeans, SurvivesWeightsThatRoundAway) {
  const auto bins = alone({{-1, 1}, {-0.2, 1e-30}, {0.3, 1e-30}, {1, 1}});
  const auto cuts = best_cuts(bins, 3);
  EXPECT_EQ(cuts, (std::vector<int64_t>{0, 1, 2, 4}));
  const auto c = centroids(bins, cuts, 3);
  EXPECT_EQ(c[0], -1);
  EXPECT_DOUBLE_EQ(c[1], -0.2);
  EXPECT_EQ(c[2], 1);
}

TEST(KvquantKmeans, RepeatsTheLastCentroidOfFewBins) {
  const auto bins = alone({{-0.5, 2}, {0.25, 1}});
  const auto cuts = best_cuts(bins, 4);
  EXPECT_EQ(cuts, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(centroids(bins, cuts, 4), (std::vector<double>{-0.5, 0.25, 0.25, 0.25}));
}

// The eight points of the vectors: u, F and r.
constexpr std::array<double, 8> kU = {-1, -0.75, -0.625, -0.125, 0, 0.125, 0.5, 1};
constexpr std::array<double, 8> kF = {1, 1, 2, 4, 4, 2, 1, 1};
constexpr std::array<double, 8> kR = {1, 2, 1, 1, 1, 1, 1, 2};

TEST(KvquantKmeans, FitsEightPoints) {
  const auto fit = [](auto weight, std::vector<double> expected, double cost) {
    std::vector<Point> points;
    for (size_t i = 0; i < kU.size(); ++i) points.push_back({kU[i], weight(i)});
    const auto bins = alone(points);
    const auto cuts = best_cuts(bins, 3);
    EXPECT_EQ(cuts, (std::vector<int64_t>{0, 3, 6, 8}));
    const auto c = centroids(bins, cuts, 3);
    for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(c[k], expected[k], 1e-15);
    EXPECT_NEAR(total_cost(bins, cuts), cost, 1e-14);
  };
  fit([](size_t) { return 1.0; }, {-19.0 / 24, 0, 0.75}, 11.0 / 48);
  fit([](size_t i) { return kF[i]; }, {-0.75, -1.0 / 40, 0.75}, 49.0 / 160);
  fit([](size_t i) { return kF[i] * kR[i] * kR[i]; }, {-0.75, -1.0 / 40, 0.9}, 61.0 / 160);
}

// All splits of up to 10 points into up to 5 runs. The least total to a few roundings (the sums
// associate otherwise).
TEST(KvquantKmeans, FindsTheBestOfAllSplits) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    const int64_t count = 5 + seed % 6;
    const int clusters = 2 + static_cast<int>(seed % 4);
    auto points = weighted_noise(count, seed);
    // Points on a grid, some of equal weight, make ties.
    if (seed % 3 == 0)
      for (Point& p : points) p = {std::round(p.u * 4) / 4, seed % 2 == 0 ? 1.0 : p.w};
    const auto bins = alone(points);
    double least = std::numeric_limits<double>::infinity();
    std::vector<int64_t> cuts(static_cast<size_t>(clusters) + 1);
    cuts.back() = count;
    const auto search = [&](auto&& self, size_t k) -> void {
      if (k == static_cast<size_t>(clusters)) {
        least = std::min(least, total_cost(bins, cuts));
        return;
      }
      for (cuts[k] = cuts[k - 1] + 1; cuts[k] < count; ++cuts[k])
        if (count - cuts[k] >= clusters - static_cast<int64_t>(k)) self(self, k + 1);
    };
    search(search, 1);
    const auto found = best_cuts(bins, clusters);
    ASSERT_EQ(std::ssize(found), clusters + 1);
    EXPECT_NEAR(total_cost(bins, found), least, 1e-13 * (1 + least)) << seed;
  }
}

// Elements whose u is exactly what is asked for: channel j holds u r[j]; two tokens before them, a
// sink that ranges of channels see, span -r[j] to r[j].
class Fitted {
 public:
  Fitted(const std::vector<std::vector<double>>& u, const std::vector<std::vector<double>>& f,
         const std::vector<double>& r, bool paper = false)
      : window_(make(u, f, r)),
        elements_({&window_, 1}, std::ssize(r), Axis::kChannel, 0, kSink, paper) {}
  const Elements& operator*() const { return elements_; }

 private:
  static constexpr int64_t kSink = 2;
  static Window make(const std::vector<std::vector<double>>& u,
                     const std::vector<std::vector<double>>& f, const std::vector<double>& r) {
    Window window;
    const auto add = [&](double value, double fisher) {
      window.values.push_back(num::f16_encode(static_cast<float>(value)));
      window.fisher.push_back(static_cast<float>(fisher));
    };
    for (const double sign : {-1.0, 1.0})
      for (const double x : r) add(sign * x, 1000);
    for (size_t t = 0; t < u.size(); ++t)
      for (size_t j = 0; j < r.size(); ++j) add(u[t][j] * r[j], f[t][j]);
    window.tokens = kSink + std::ssize(u);
    return window;
  }
  Window window_;
  Elements elements_;
};

std::vector<double> eight(const std::array<double, 8>& x) { return {x.begin(), x.end()}; }

TEST(KvquantCodebook, WeighsWithTheFisherInformationAndTheRange) {
  const Fitted fitted({eight(kU)}, {eight(kF)}, eight(kR));
  EXPECT_EQ(fit_codebook(*fitted, Weight::kFisher, 3),
            (std::vector<float>{-0.75f, -0.025f, 0.75f}));
  EXPECT_EQ(fit_codebook(*fitted, Weight::kFisherRange, 3),
            (std::vector<float>{-0.75f, -0.025f, 0.9f}));
  EXPECT_EQ(fit_codebook(*fitted, Weight::kOne, 3),
            (std::vector<float>{static_cast<float>(-19.0 / 24), 0.0f, 0.75f}));
  const std::vector<double> c = {-0.75, -1.0 / 40, 0.75};
  EXPECT_NEAR(objective(*fitted, Weight::kFisher, c), 49.0 / 160, 1e-15);
}

TEST(KvquantCodebook, QNormMatchesMeanAndDeviation) {
  const Fitted fitted({eight(kU)}, {eight(kF)}, eight(kR));
  const QNorm q = fit_qnorm(*fitted, std::vector<float>{-0.75f, -0.025f, 0.75f});
  EXPECT_NEAR(q.alpha, 1.0723772f, 1e-7f);
  EXPECT_NEAR(q.beta, 0.0012139f, 1e-7f);
  // Images that are all the same: the mean alone is matched.
  const QNorm flat = fit_qnorm(*fitted, std::vector<float>(4, 0.5f));
  EXPECT_EQ(flat.alpha, 1.0f);
  EXPECT_EQ(flat.beta, static_cast<float>(-7.0 / 64 - 0.5));
}

// Four points, two of them nearly without weight: the polish moves the third to its cell's mean.
// Weights are binary32 here, and 0.3 and 0.2 the nearest fp16.
TEST(KvquantCodebook, PolishMovesWhatRoundedAway) {
  const float low = num::f16_round(-0.2f), high = num::f16_round(0.3f);
  const Fitted fitted({{-1, -0.2, 0.3, 1}}, {{1, 1e-30, 1e-30, 1}}, {1, 1, 1, 1});
  const auto c = fit_codebook(*fitted, Weight::kFisher, 3);
  EXPECT_EQ(c[0], -1.0f);
  EXPECT_FLOAT_EQ(c[1], (low + high) / 2);
  EXPECT_EQ(c[2], 1.0f);
}

TEST(KvquantCodebook, WithoutAnyWeightAllCountAlike) {
  const Fitted fitted({eight(kU)}, {std::vector<double>(8, 0.0)}, eight(kR));
  EXPECT_EQ(fit_codebook(*fitted, Weight::kFisherRange, 3), fit_codebook(*fitted, Weight::kOne, 3));
}

TEST(KvquantCodebook, ConstantDataHasNoInliers) {
  Window window{
      .tokens = 3, .values = std::vector<uint16_t>(6, 0x3c00), .fisher = {1, 1, 1, 1, 1, 1}};
  for (const Axis axis : {Axis::kChannel, Axis::kToken}) {
    const Elements elements({&window, 1}, 2, axis, 0, 0, false);
    EXPECT_EQ(fit_codebook(elements, Weight::kFisher, 4), std::vector<float>(4, 0.0f));
    const QNorm q = fit_qnorm(elements, std::vector<float>(4, 0.0f));
    EXPECT_EQ(q.alpha, 1.0f);
    EXPECT_EQ(q.beta, 0.0f);
  }
}

// Windows of noise in fp16, more of it near 0, as [tokens][channels], with Fisher weights.
std::vector<Window> noisy_windows(int64_t windows, int64_t tokens, int64_t channels) {
  std::vector<Window> out;
  for (int64_t i = 0; i < windows; ++i) {
    Window window{.tokens = tokens, .values = {}, .fisher = {}};
    const auto x = test::noise(tokens * channels, 11 + static_cast<uint32_t>(i));
    const auto f = test::noise(tokens * channels, 77 + static_cast<uint32_t>(i));
    for (size_t j = 0; j < x.size(); ++j) {
      window.values.push_back(num::f16_encode(x[j] * x[j] * x[j]));
      window.fisher.push_back(std::exp2(f[j] * 8.0f));
    }
    out.push_back(std::move(window));
  }
  return out;
}

// What sink, ranges and outliers leave, against a second reading of the page.
TEST(KvquantCodebook, LeavesOutSinkAndOutliers) {
  constexpr int64_t kTokens = 50, kChannels = 6, kE = 20;
  const auto windows = noisy_windows(2, kTokens, kChannels);
  for (const bool paper : {false, true}) {
    const Elements elements(windows, kChannels, Axis::kChannel, kE, 3, paper);
    for (int64_t j = 0; j < kChannels; ++j) {
      std::vector<double> v;
      for (const Window& window : windows)
        for (int64_t t = paper ? 3 : 0; t < kTokens; ++t)
          v.push_back(static_cast<double>(
              num::f16_decode(window.values[static_cast<size_t>(t * kChannels + j)])));
      std::sort(v.begin(), v.end());
      const double p = static_cast<double>(v.size() - 1) / kE;
      const size_t i = static_cast<size_t>(p), last = v.size() - 1;
      const double f = p - static_cast<double>(i);
      const Range range = elements.ranges()[static_cast<size_t>(j)];
      EXPECT_FLOAT_EQ(range.lo, static_cast<float>(v[i] + f * (v[i + 1] - v[i])));
      EXPECT_FLOAT_EQ(range.hi,
                      static_cast<float>(v[last - i] - f * (v[last - i] - v[last - i - 1])));
    }
    double kept = 0, weight = 0;
    for (size_t n = 0; n < windows.size(); ++n) {
      for (int64_t t = 3; t < kTokens; ++t) {
        for (int64_t j = 0; j < kChannels; ++j) {
          const size_t at = static_cast<size_t>(t * kChannels + j);
          const Range range = elements.ranges()[static_cast<size_t>(j)];
          const float x = num::f16_decode(windows[n].values[at]);
          const bool outlier = x > range.hi || x < range.lo;
          kept += outlier ? 0 : 1;
          weight += outlier ? 0 : static_cast<double>(windows[n].fisher[at]);
        }
      }
    }
    const auto sum = [](const std::vector<Bin>& bins) {
      double total = 0;
      for (const Bin& bin : bins) total += bin.s0;
      return total;
    };
    EXPECT_EQ(sum(binned(elements, Weight::kOne)), kept);
    EXPECT_NEAR(sum(binned(elements, Weight::kFisher)), weight, 1e-9 * weight);
    EXPECT_LT(kept, 2.0 * (kTokens - 3) * kChannels);
  }
}

// 4096 bins and the polish cost nothing against k-means on the points themselves: the objective is
// within 1e-9 of the exact one, and far below that of equal steps.
TEST(KvquantCodebook, BinsCostNothing) {
  const auto windows = noisy_windows(5, 100, 5);
  const Elements elements(windows, 5, Axis::kToken, 0, 0, false);
  std::vector<Point> points;
  std::vector<float> u(5);
  std::vector<double> w(5);
  for (int64_t window = 0; window < 5; ++window) {
    for (int64_t t = 0; t < 100; ++t) {
      elements.row(window, t, Weight::kFisherRange, u, w);
      for (size_t j = 0; j < 5; ++j)
        if (w[j] > 0) points.push_back({static_cast<double>(u[j]), w[j]});
    }
  }
  ASSERT_EQ(points.size(), 2500u);
  std::sort(points.begin(), points.end(), [](Point a, Point b) { return a.u < b.u; });
  const auto bins = alone(points);
  for (const int codes : {4, 16}) {
    const double exact = total_cost(bins, best_cuts(bins, codes));
    const std::vector<float> fitted = fit_codebook(elements, Weight::kFisherRange, codes);
    const double found = objective(elements, Weight::kFisherRange,
                                   std::vector<double>(fitted.begin(), fitted.end()));
    EXPECT_NEAR(found, exact, 1e-9 * exact) << codes;
    std::vector<double> even;
    for (int k = 0; k < codes; ++k) even.push_back((2.0 * k + 1) / codes - 1);
    EXPECT_LT(found, 0.9 * objective(elements, Weight::kFisherRange, even)) << codes;
  }
}

}  // namespace
}  // namespace kvx::ref::kvquant
