#include "sim/model/backward_ops.h"

#include <algorithm>
#include <array>

#include "sim/num/elementary.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"

namespace kvx::model {

// dx = r (w dy) - x r^3 / n sum_j w_j dy_j x_j
void rms_norm_backward(std::span<const float> x, std::span<const float> weight, float eps,
                       std::span<const float> dy, std::span<float> dx) {
  const float n = static_cast<float>(x.size());
  const float r = num::rsqrt(num::sum_squares(x) / n + eps);
  double dot = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    dx[i] = weight[i] * dy[i];
    dot += static_cast<double>(dx[i]) * static_cast<double>(x[i]);
  }
  const float along = static_cast<float>(dot) * r * r / n;
  for (size_t i = 0; i < x.size(); ++i) dx[i] = r * (dx[i] - x[i] * along);
}

// With s = 1 / (1 + exp(-g)): silu = g s, silu' = s (1 + g (1 - s)).
void swiglu_backward(std::span<float> g, std::span<float> u, std::span<const float> dh) {
  constexpr size_t kBlock = 256;
  std::array<float, kBlock> e;
  for (size_t first = 0; first < g.size(); first += kBlock) {
    const size_t count = std::min(kBlock, g.size() - first);
    float* const gb = g.data() + first;
    float* const ub = u.data() + first;
    const float* const db = dh.data() + first;
    for (size_t i = 0; i < count; ++i) e[i] = -gb[i];
    num::exp({e.data(), count}, {e.data(), count});
    for (size_t i = 0; i < count; ++i) {
      const float s = 1.0f / (1.0f + e[i]);
      const float silu = gb[i] * s;
      const float slope = s * (1.0f + gb[i] * (1.0f - s));
      gb[i] = db[i] * ub[i] * slope;
      ub[i] = db[i] * silu;
    }
  }
}

double nll_backward(std::span<float> z, int32_t next, float scale) {
  const size_t target = static_cast<size_t>(next);
  const double nll = num::nll(num::log_sum_exp(z), z[target]);
  num::softmax(z, z);
  z[target] = z[target] - 1.0f;
  for (float& x : z) x = x * scale;
  return nll;
}

}  // namespace kvx::model
