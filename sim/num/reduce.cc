#include "sim/num/reduce.h"

#include "sim/num/elementary.h"
#include "sim/num/kernels.h"

namespace kvx::num {

float sum(std::span<const float> x) { return kernels().sum(x.data(), std::ssize(x)); }
double sum(std::span<const double> x) { return kernels().sum64(x.data(), std::ssize(x)); }
float sum_squares(std::span<const float> x) {
  return kernels().sum_squares(x.data(), std::ssize(x));
}
float max(std::span<const float> x) { return kernels().max(x.data(), std::ssize(x)); }
int64_t argmax(std::span<const float> x) { return kernels().argmax(x.data(), std::ssize(x)); }

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y) {
  const float mean = sum_squares(x) / static_cast<float>(x.size());
  kernels().scale(x.data(), rsqrt(mean + eps), weight.data(), std::ssize(x), y.data());
}

void softmax(std::span<const float> x, std::span<float> p) {
  kernels().exp_minus(x.data(), max(x), std::ssize(x), p.data());
  kernels().divide(p.data(), sum(p), std::ssize(p), p.data());
}

void swiglu(std::span<const float> g, std::span<const float> u, std::span<float> h) {
  kernels().swiglu(g.data(), u.data(), std::ssize(g), h.data());
}

}  // namespace kvx::num
