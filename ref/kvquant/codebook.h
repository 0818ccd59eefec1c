// Codebooks fitted to weighted elements, and Q-Norm (ref/kvquant/calibrate.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ref/kvquant/elements.h"
#include "ref/kvquant/kmeans.h"

namespace kvx::ref::kvquant {

inline constexpr int64_t kBins = 4096;  // of [-1, 1], equally wide
inline constexpr int kPolishRounds = 50;

// Sums of the elements in each bin, in the page's order. Those without weight are left out.
std::vector<Bin> binned(const Elements& elements, Weight weight);

// Lloyd's rounds on the elements themselves, from ascending centroids `c`.
void polish(const Elements& elements, Weight weight, std::vector<double>& c);

// sum w (u - c[q])^2, q the nearest centroid: what a fit makes small.
double objective(const Elements& elements, Weight weight, std::span<const double> c);

// `codes` centroids, ascending: exact k-means on the bins, polished, rounded to binary32. Weights
// that are all zero count as 1; without any inlier every centroid is 0.
std::vector<float> fit_codebook(const Elements& elements, Weight weight, int codes);

// decode with alpha c + beta: mean and deviation of the inliers, and of their codebook images.
struct QNorm {
  float alpha = 1;
  float beta = 0;
};
// alpha = 1 where the images do not differ.
QNorm fit_qnorm(const Elements& elements, std::span<const float> codebook);

}  // namespace kvx::ref::kvquant
