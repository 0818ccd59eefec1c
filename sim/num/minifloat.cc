#include "sim/num/minifloat.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace kvx::num {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Format {
  int exponent_bits;
  int mantissa_bits;
  uint32_t largest;  // finite code
  uint32_t nan;      // what NaN encodes to
  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint32_t sign() const { return 1u << (exponent_bits + mantissa_bits); }
};
constexpr Format kE4m3{4, 3, 0x7E, 0x7F};
constexpr Format kE5m2{5, 2, 0x7B, 0x7F};
constexpr Format kE2m1{2, 1, 0x7, 0x7};

// Without branches, so that loops over it are vectorised.
template <Format kFormat>
inline uint8_t encode(float x) {
  constexpr int kDropped = 23 - kFormat.mantissa_bits;
  constexpr auto kRebias = static_cast<uint32_t>(127 - kFormat.bias()) << 23;
  constexpr uint32_t kLeastNormal = kRebias + (1u << 23);
  // Adding 2^23 steps of the subnormals leaves their rounded number in the low bits.
  constexpr uint32_t kShift =
      static_cast<uint32_t>(127 + 23 + 1 - kFormat.bias() - kFormat.mantissa_bits) << 23;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = bits >> 31 != 0 ? kFormat.sign() : 0u;
  const uint32_t small =
      std::bit_cast<uint32_t>(std::bit_cast<float>(std::min(magnitude, kLeastNormal)) +
                              std::bit_cast<float>(kShift)) -
      kShift;
  // The carry of the rounding moves the exponent.
  const uint32_t rebiased = magnitude - kRebias;
  const uint32_t odd = (rebiased >> kDropped) & 1u;
  const uint32_t normal = (rebiased + ((1u << (kDropped - 1)) - 1u) + odd) >> kDropped;
  const uint32_t rounded = magnitude < kLeastNormal ? small : normal;
  const uint32_t code = sign | std::min(rounded, kFormat.largest);
  return static_cast<uint8_t>(magnitude > 0x7F800000u ? kFormat.nan : code);
}

// Sign, exponent and mantissa by the definition; specials aside.
constexpr float finite_value(const Format& format, uint32_t code) {
  const uint32_t magnitude = code & (format.sign() - 1);
  const int field = static_cast<int>(magnitude >> format.mantissa_bits);
  const uint32_t fraction = magnitude & ((1u << format.mantissa_bits) - 1);
  float value = static_cast<float>(fraction + (field > 0 ? 1u << format.mantissa_bits : 0u));
  int exponent = std::max(field, 1) - format.bias() - format.mantissa_bits;
  for (; exponent > 0; --exponent) value *= 2.0f;
  for (; exponent < 0; ++exponent) value *= 0.5f;
  return (code & format.sign()) != 0 ? -value : value;
}

template <Format kFormat>
constexpr auto make_values() {
  std::array<float, 2 * kFormat.sign()> values{};
  for (uint32_t code = 0; code < values.size(); ++code) {
    const uint32_t magnitude = code & (kFormat.sign() - 1);
    const float infinity = std::numeric_limits<float>::infinity();
    values[code] = magnitude <= kFormat.largest ? finite_value(kFormat, code)
                   : kFormat.exponent_bits == 5 && magnitude == 0x7C
                       ? ((code & kFormat.sign()) != 0 ? -infinity : infinity)
                       : kNan;
  }
  return values;
}
constexpr auto kE4m3Values = make_values<kE4m3>();
constexpr auto kE5m2Values = make_values<kE5m2>();
constexpr auto kE2m1Values = make_values<kE2m1>();

}  // namespace

uint8_t e4m3_encode(float x) { return encode<kE4m3>(x); }
float e4m3_decode(uint8_t code) { return kE4m3Values[code]; }
uint8_t e5m2_encode(float x) { return encode<kE5m2>(x); }
float e5m2_decode(uint8_t code) { return kE5m2Values[code]; }
uint8_t e2m1_encode(float x) { return encode<kE2m1>(x); }
float e2m1_decode(uint8_t code) { return kE2m1Values[code & 0xFu]; }

uint8_t e8m0_encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) == 0) return 0x00;
  if (bits > 0x7F800000u) return 0xFF;  // NaN, or a sign
  // 2^-127 is subnormal here; the tie between it and 2^-126 is 1.5 * 2^-127, and 0x00 is even.
  if (bits < 0x00800000u) return bits > 0x00600000u ? 0x01 : 0x00;
  // Between 2^e and 2^(e+1) half the way is the mantissa 1.5.
  const uint32_t field = bits >> 23;
  const uint32_t fraction = bits & 0x7FFFFFu;
  const bool up = fraction > 0x400000u || (fraction == 0x400000u && (field & 1u) != 0);
  return static_cast<uint8_t>(std::min(field + (up ? 1u : 0u), 0xFEu));
}

float e8m0_decode(uint8_t code) {
  if (code == 0xFF) return kNan;
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<uint32_t>(code) << 23);
}

uint8_t e8m0_floor(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) == 0) return 0x00;
  return static_cast<uint8_t>(bits >= 0x7F800000u ? 0xFFu : bits >> 23);
}

void e4m3_encode(std::span<const float> x, std::span<uint8_t> codes) {
  for (size_t i = 0; i < x.size(); ++i) codes[i] = encode<kE4m3>(x[i]);
}
void e4m3_decode(std::span<const uint8_t> codes, std::span<float> x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = kE4m3Values[codes[i]];
}
void e5m2_encode(std::span<const float> x, std::span<uint8_t> codes) {
  for (size_t i = 0; i < x.size(); ++i) codes[i] = encode<kE5m2>(x[i]);
}
void e5m2_decode(std::span<const uint8_t> codes, std::span<float> x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = kE5m2Values[codes[i]];
}
void e2m1_encode(std::span<const float> x, std::span<uint8_t> codes) {
  for (size_t i = 0; i < x.size(); ++i) codes[i] = encode<kE2m1>(x[i]);
}
void e2m1_decode(std::span<const uint8_t> codes, std::span<float> x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = kE2m1Values[codes[i] & 0xFu];
}

}  // namespace kvx::num
