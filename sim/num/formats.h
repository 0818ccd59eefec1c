// binary16 and bfloat16: encode with round to nearest even, decode exactly. Subnormals, signed
// zeros and infinities as IEEE says; overflow gives infinity. A NaN encodes to the quiet NaN of its
// sign with the top payload bits.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

uint16_t f16_encode(float x);
float f16_decode(uint16_t bits);
inline float f16_round(float x) { return f16_decode(f16_encode(x)); }

uint16_t bf16_encode(float x);
float bf16_decode(uint16_t bits);
inline float bf16_round(float x) { return bf16_decode(bf16_encode(x)); }

// The same, vectorised; in and out of one length, may not overlap unless equal.
void f16_encode(std::span<const float> x, std::span<uint16_t> bits);
void f16_decode(std::span<const uint16_t> bits, std::span<float> x);
void f16_round(std::span<const float> x, std::span<float> out);
void bf16_encode(std::span<const float> x, std::span<uint16_t> bits);
void bf16_decode(std::span<const uint16_t> bits, std::span<float> x);
void bf16_round(std::span<const float> x, std::span<float> out);

}  // namespace kvx::num
