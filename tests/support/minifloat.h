// The 8- and 4-bit float formats by their definition: the value of every code, and the nearest of
// all codes, in binary64.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>

#include "sim/num/minifloat.h"

namespace kvx::test {

struct MinifloatFormat {
  const char* name;
  int exponent_bits;
  int mantissa_bits;
  int largest;  // finite code
  int nan;      // code of NaN
  uint8_t (*encode)(float);
  float (*decode)(uint8_t);
  void (*encode_span)(std::span<const float>, std::span<uint8_t>);
  void (*decode_span)(std::span<const uint8_t>, std::span<float>);

  constexpr int sign() const { return 1 << (exponent_bits + mantissa_bits); }
};
inline constexpr MinifloatFormat kMinifloats[] = {
    {"e4m3", 4, 3, 0x7E, 0x7F, num::e4m3_encode, num::e4m3_decode, num::e4m3_encode,
     num::e4m3_decode},
    {"e5m2", 5, 2, 0x7B, 0x7F, num::e5m2_encode, num::e5m2_decode, num::e5m2_encode,
     num::e5m2_decode},
    {"e2m1", 2, 1, 0x07, 0x07, num::e2m1_encode, num::e2m1_decode, num::e2m1_encode,
     num::e2m1_decode}};

inline void PrintTo(const MinifloatFormat& format, std::ostream* out) { *out << format.name; }

// Of a finite code, by the definition.
inline double value_of(const MinifloatFormat& format, int code) {
  const int magnitude = code & (format.sign() - 1);
  const int exponent = magnitude >> format.mantissa_bits;
  const int fraction = magnitude & ((1 << format.mantissa_bits) - 1);
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const double value = exponent == 0 ? std::ldexp(fraction, 1 - bias - format.mantissa_bits)
                                     : std::ldexp(fraction + (1 << format.mantissa_bits),
                                                  exponent - bias - format.mantissa_bits);
  return (code & format.sign()) != 0 ? -value : value;
}

// Nearest finite code, ties to the even one, by looking at all of them.
inline int nearest_code(const MinifloatFormat& format, float x) {
  if (std::isnan(x)) return format.nan;
  // Beyond twice the largest nothing changes; binary64 holds the differences up to there.
  const double magnitude =
      std::min(std::abs(static_cast<double>(x)), 2 * value_of(format, format.largest));
  int best = 0;
  double distance = HUGE_VAL;
  for (int code = 0; code <= format.largest; ++code) {
    const double d = std::abs(magnitude - value_of(format, code));
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  return best | (std::signbit(x) ? format.sign() : 0);
}

}  // namespace kvx::test
