// Derivatives of the elementwise steps of a layer (sim/num/ieee.md, 1.3, 1.8, 2.4), in binary32.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::model {

// y_i = x_i r w_i with r = 1 / sqrt(mean x^2 + eps): dx from dy, all of one length; dx may be dy.
void rms_norm_backward(std::span<const float> x, std::span<const float> weight, float eps,
                       std::span<const float> dy, std::span<float> dx);

// h_i = silu(g_i) u_i: from g, u and dh to dg (in g's place) and du (in u's place).
void swiglu_backward(std::span<float> g, std::span<float> u, std::span<const float> dh);

// Of row z [vocab] of logits and the token that follows: returns -log p(next), and in z
// scale * d(-log p(next)) / dz = scale * (p - [index = next]).
double nll_backward(std::span<float> z, int32_t next, float scale);

}  // namespace kvx::model
