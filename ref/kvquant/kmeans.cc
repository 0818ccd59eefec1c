#include "ref/kvquant/kmeans.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace kvx::ref::kvquant {
namespace {

constexpr size_t kLanes = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// min over i in [first, last) of a[i] + b[i] and the smallest i that has it. Neither holds NaN.
std::pair<double, int64_t> least_sum(const double* a, const double* b, int64_t first,
                                     int64_t last) {
  std::array<double, kLanes> least;
  least.fill(kInfinity);
  int64_t i = first;
  for (; i + static_cast<int64_t>(kLanes) <= last; i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      const double x = a[i + static_cast<int64_t>(l)] + b[i + static_cast<int64_t>(l)];
      least[l] = x < least[l] ? x : least[l];
    }
  }
  double best = *std::min_element(least.begin(), least.end());
  for (; i < last; ++i) best = std::min(best, a[i] + b[i]);
  for (i = first; i < last && a[i] + b[i] != best;) ++i;
  return {best, i};
}

}  // namespace

std::vector<Bin> prefix_sums(std::span<const Bin> bins) {
  std::vector<Bin> p(bins.size() + 1);
  for (size_t i = 0; i < bins.size(); ++i)
    p[i + 1] = {p[i].s0 + bins[i].s0, p[i].s1 + bins[i].s1, p[i].s2 + bins[i].s2};
  return p;
}

double cluster_cost(std::span<const Bin> p, int64_t i, int64_t j) {
  const Bin& from = p[static_cast<size_t>(i)];
  const Bin& to = p[static_cast<size_t>(j)];
  const double weight = to.s0 - from.s0, a = to.s1 - from.s1;
  const double cost = (to.s2 - from.s2) - a * a / weight;
  return weight <= 0 ? 0.0 : cost > 0 ? cost : 0.0;
}

std::vector<int64_t> best_cuts(std::span<const Bin> bins, int clusters) {
  const int64_t m = std::ssize(bins);
  const size_t runs = static_cast<size_t>(std::min<int64_t>(clusters, m));
  const size_t width = static_cast<size_t>(m) + 1;
  const std::vector<Bin> p = prefix_sums(bins);
  std::vector<double> cost(width);  // of bins [i, j), for the j at hand
  std::vector<std::vector<double>> least(runs, std::vector<double>(width, kInfinity));
  std::vector<std::vector<int32_t>> cut(runs, std::vector<int32_t>(width, 0));
  for (int64_t j = 1; j <= m; ++j) {
    const size_t to = static_cast<size_t>(j);
    for (int64_t i = 0; i < j; ++i) cost[static_cast<size_t>(i)] = cluster_cost(p, i, j);
    least[0][to] = cost[0];
    for (size_t k = 1; k < runs && static_cast<int64_t>(k) < j; ++k) {
      const auto [best, at] =
          least_sum(least[k - 1].data(), cost.data(), static_cast<int64_t>(k), j);
      least[k][to] = best;
      cut[k][to] = static_cast<int32_t>(at);
    }
  }
  std::vector<int64_t> cuts(runs + 1);
  cuts[runs] = m;
  for (size_t k = runs - 1; k > 0; --k) cuts[k] = cut[k][static_cast<size_t>(cuts[k + 1])];
  return cuts;
}

std::vector<double> centroids(std::span<const Bin> bins, std::span<const int64_t> cuts,
                              int clusters) {
  std::vector<double> c;
  for (size_t k = 0; k + 1 < cuts.size(); ++k) {
    double s0 = 0, s1 = 0;
    for (int64_t i = cuts[k]; i < cuts[k + 1]; ++i) {
      s0 = s0 + bins[static_cast<size_t>(i)].s0;
      s1 = s1 + bins[static_cast<size_t>(i)].s1;
    }
    c.push_back(s1 / s0);
  }
  c.resize(static_cast<size_t>(clusters), c.back());
  return c;
}

}  // namespace kvx::ref::kvquant
