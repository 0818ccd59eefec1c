#include "sim/num/likelihood.h"

namespace kvx::num {

double log_sum_exp(std::span<const float> z) { return plain::log_sum_exp(z); }
double kl_divergence(std::span<const float> z, double lse_z, std::span<const float> w,
                     double lse_w) {
  return plain::kl_divergence(z, lse_z, w, lse_w);
}

}  // namespace kvx::num
