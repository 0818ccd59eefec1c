// Likelihood and divergence of rows of logits (ieee.md, 2.6): exponentials in binary32, sums in
// binary64.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

// Log of the sum of exponentials of one row. NaN in the row makes it NaN.
double log_sum_exp(std::span<const float> z);
// -log p(index) = lse - z[index].
inline double nll(double lse, float z) { return lse - static_cast<double>(z); }
// KL(p || q) of logits z (of p) and w (of q), with their log_sum_exp.
double kl_divergence(std::span<const float> z, double lse_z, std::span<const float> w,
                     double lse_w);

namespace plain {
double log_sum_exp(std::span<const float> z);
double kl_divergence(std::span<const float> z, double lse_z, std::span<const float> w,
                     double lse_w);
}  // namespace plain

}  // namespace kvx::num
