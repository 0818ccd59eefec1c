// Reductions of the `ieee` arithmetic (ieee.md, section 2): the order depends on the length alone.
// Scalar loops in namespace `plain` are the definition, the others are vectorised and equal to them
// bit for bit.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

inline constexpr int kDotBlock = 512;  // 2.1
inline constexpr int kSumLanes = 128;  // 2.2

float sum(std::span<const float> x);  // 2.2
double sum(std::span<const double> x);
float sum_squares(std::span<const float> x);  // 2.2, fma(x, x, a)
float max(std::span<const float> x);          // 2.3: NaN if any is; -0 erased; -inf of nothing
int64_t argmax(
    std::span<const float> x);  // 2.3: lowest index on ties, NaN never; -1 if there is none

// 2.4: y_i = (x_i * r) * w_i.
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y);
// 2.5
void softmax(std::span<const float> x, std::span<float> p);
// SwiGLU: h_i = silu(g_i) * u_i. h may be g.
void swiglu(std::span<const float> g, std::span<const float> u, std::span<float> h);

namespace plain {
float dot(std::span<const float> a, std::span<const float> b);  // 2.1
float sum(std::span<const float> x);
double sum(std::span<const double> x);
float sum_squares(std::span<const float> x);
float max(std::span<const float> x);
int64_t argmax(std::span<const float> x);
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y);
void softmax(std::span<const float> x, std::span<float> p);
void swiglu(std::span<const float> g, std::span<const float> u, std::span<float> h);
}  // namespace plain

}  // namespace kvx::num
