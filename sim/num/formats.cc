#include "sim/num/formats.h"

#include <immintrin.h>

#include <bit>

namespace kvx::num {

namespace {

// Internal, so that the loops below are vectorised.
inline uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t nan = (bits >> 16) | 0x40u;
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

inline float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace

uint16_t f16_encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u)
    return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 2^16 and above
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves round(x * 2^24) in the low bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u));
  }
  // The carry of the rounding moves the exponent, up to infinity.
  const uint32_t rebiased = magnitude - 0x38000000u;
  return static_cast<uint16_t>(sign | ((rebiased + 0xFFFu + ((rebiased >> 13) & 1u)) >> 13));
}

float f16_decode(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7FFFu;
  uint32_t wide;
  if (magnitude > 0x7C00u)
    wide = 0x7FC00000u | (magnitude << 13);
  else if (magnitude == 0x7C00u)
    wide = 0x7F800000u;
  else if (magnitude >= 0x400u)
    wide = (magnitude << 13) + 0x38000000u;
  else
    wide = std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
  return std::bit_cast<float>(sign | wide);
}

uint16_t bf16_encode(float x) { return to_bf16(x); }
float bf16_decode(uint16_t bits) { return from_bf16(bits); }

// F16C rounds to nearest even here whatever MXCSR says, and quiets NaN as above.
void f16_encode(std::span<const float> x, std::span<uint16_t> bits) {
  size_t i = 0;
  for (; i + 8 <= x.size(); i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&bits[i]),
                     _mm256_cvtps_ph(_mm256_loadu_ps(&x[i]), _MM_FROUND_TO_NEAREST_INT));
  for (; i < x.size(); ++i) bits[i] = f16_encode(x[i]);
}

void f16_decode(std::span<const uint16_t> bits, std::span<float> x) {
  size_t i = 0;
  for (; i + 8 <= bits.size(); i += 8)
    _mm256_storeu_ps(&x[i],
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&bits[i]))));
  for (; i < bits.size(); ++i) x[i] = f16_decode(bits[i]);
}

void f16_round(std::span<const float> x, std::span<float> out) {
  size_t i = 0;
  for (; i + 8 <= x.size(); i += 8)
    _mm256_storeu_ps(&out[i], _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(&x[i]),
                                                              _MM_FROUND_TO_NEAREST_INT)));
  for (; i < x.size(); ++i) out[i] = f16_round(x[i]);
}

void bf16_encode(std::span<const float> x, std::span<uint16_t> bits) {
  for (size_t i = 0; i < x.size(); ++i) bits[i] = to_bf16(x[i]);
}

void bf16_decode(std::span<const uint16_t> bits, std::span<float> x) {
  for (size_t i = 0; i < bits.size(); ++i) x[i] = from_bf16(bits[i]);
}

void bf16_round(std::span<const float> x, std::span<float> out) {
  for (size_t i = 0; i < x.size(); ++i) out[i] = from_bf16(to_bf16(x[i]));
}

}  // namespace kvx::num
