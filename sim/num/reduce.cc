#include "sim/num/reduce.h"

namespace kvx::num {

float sum(std::span<const float> x) { return plain::sum(x); }
double sum(std::span<const double> x) { return plain::sum(x); }
float sum_squares(std::span<const float> x) { return plain::sum_squares(x); }
float max(std::span<const float> x) { return plain::max(x); }
int64_t argmax(std::span<const float> x) { return plain::argmax(x); }
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y) {
  plain::rms_norm(x, weight, eps, y);
}
void softmax(std::span<const float> x, std::span<float> p) { plain::softmax(x, p); }
void swiglu(std::span<const float> g, std::span<const float> u, std::span<float> h) {
  plain::swiglu(g, u, h);
}

}  // namespace kvx::num
