// Elementary functions of the `ieee` arithmetic (ieee.md, section 1): recipes of IEEE operations,
// each rounded once. The scalar versions are the definition; the span versions are vectorised and
// equal to them bit for bit.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

float exp2(float x);   // 1.1
float exp(float x);    // 1.2
float silu(float x);   // 1.3
float rsqrt(float x);  // 1.4: 1 / sqrt(x), two roundings

struct SinCos {
  float sin;
  float cos;
};
SinCos sincos_phase(uint32_t phase);  // 1.5: one turn is 2^32

double log64(double x);    // 1.6
double exp2_64(double x);  // 1.7, |x| <= 1000

void exp2(std::span<const float> x, std::span<float> out);
void exp(std::span<const float> x, std::span<float> out);
void silu(std::span<const float> x, std::span<float> out);
void sincos_phase(std::span<const uint32_t> phase, std::span<float> sin, std::span<float> cos);

}  // namespace kvx::num
