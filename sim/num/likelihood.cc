#include "sim/num/likelihood.h"

#include <cmath>
#include <limits>

#include "sim/num/elementary.h"
#include "sim/num/kernels.h"
#include "sim/num/reduce.h"

namespace kvx::num {

// Of an infinite greatest logit, or of none, the definition makes NaN: the kernels see only finite
// ones.
double log_sum_exp(std::span<const float> z) {
  const float m = max(z);
  if (z.empty()) return static_cast<double>(m);
  if (!std::isfinite(m)) return std::numeric_limits<double>::quiet_NaN();
  return log64(kernels().sum_exp(z.data(), m, std::ssize(z))) + static_cast<double>(m);
}

double kl_divergence(std::span<const float> z, double lse_z, std::span<const float> w,
                     double lse_w) {
  const float m = max(z);
  if (!std::isfinite(m)) return std::numeric_limits<double>::quiet_NaN();
  double d;
  double s;
  kernels().divergence_sums(z.data(), w.data(), m, std::ssize(z), &d, &s);
  return d / s + (lse_w - lse_z);
}

}  // namespace kvx::num
