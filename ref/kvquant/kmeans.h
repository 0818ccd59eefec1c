// Exact weighted k-means in one dimension by dynamic programming (ref/kvquant/calibrate.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvx::ref::kvquant {

// Sums over points that are never parted: of w, w u and (w u) u.
struct Bin {
  double s0 = 0;
  double s1 = 0;
  double s2 = 0;
};

// sum w (u - c)^2 with the best c, of bins [i, j), from prefix sums `p` (bins + 1 of them):
// W = p[j].s0 - p[i].s0, a = p[j].s1 - p[i].s1; 0 if W <= 0, else
// max(0, (p[j].s2 - p[i].s2) - a a / W).
double cluster_cost(std::span<const Bin> p, int64_t i, int64_t j);

std::vector<Bin> prefix_sums(std::span<const Bin> bins);

// Cuts `bins` (ascending u, s0 > 0, at least one) into min(clusters, bins) runs of the least total
// cost: run k is [cuts[k], cuts[k + 1]). Of equal totals the smallest last cut wins, then the
// smallest one before it, and so on. Every split is tried, O(clusters bins^2): rounded costs do not
// promise the monotone cuts that faster searches build on.
std::vector<int64_t> best_cuts(std::span<const Bin> bins, int clusters);

// sum s1 / sum s0 of each run's own bins; the last is repeated up to `clusters`.
std::vector<double> centroids(std::span<const Bin> bins, std::span<const int64_t> cuts,
                              int clusters);

}  // namespace kvx::ref::kvquant
