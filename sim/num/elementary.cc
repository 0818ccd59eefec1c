#include "sim/num/elementary.h"

#include <bit>
#include <cmath>
#include <limits>

#include "sim/num/kernels.h"

namespace kvx::num {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kToInteger = 0x1.8p+23f;  // adding it leaves the nearest integer in the low bits
constexpr double kToInteger64 = 0x1.8p+52;

// 2^f with the exponent moved by the integer in the low bits of t; |f| <= 0.5.
float scaled_exp2(float f, float t) {
  float p = 0x1.41fbbap-13f;
  p = std::fma(p, f, 0x1.5f3e52p-10f);
  p = std::fma(p, f, 0x1.3b2d4ap-7f);
  p = std::fma(p, f, 0x1.c6aef6p-5f);
  p = std::fma(p, f, 0x1.ebfbd8p-3f);
  p = std::fma(p, f, 0x1.62e43p-1f);
  p = std::fma(p, f, 1.0f);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(t) << 23));
}

}  // namespace

float exp2(float x) {
  if (std::isnan(x)) return x;
  if (x >= 128.0f) return kInf;
  if (x < -126.0f) return 0.0f;
  const float t = x + kToInteger;
  const float n = t - kToInteger;
  return scaled_exp2(x - n, t);
}

float exp(float x) {
  if (std::isnan(x)) return x;
  if (x > 0x1.62e42ep+6f) return kInf;
  if (x < -0x1.5d589ep+6f) return 0.0f;
  const float t = std::fma(x, 0x1.715476p+0f, kToInteger);
  const float n = t - kToInteger;
  float f = std::fma(x, 0x1.715476p+0f, -n);
  f = std::fma(x, 0x1.4ae0cp-26f, f);
  return scaled_exp2(f, t);
}

float silu(float x) {
  const float e = exp(-x);
  const float d = 1.0f + e;
  return x / d;
}

float rsqrt(float x) { return 1.0f / std::sqrt(x); }

SinCos sincos_phase(uint32_t phase) {
  const uint32_t quadrant = (phase + 0x20000000u) >> 30;
  const int32_t r = static_cast<int32_t>(phase - (quadrant << 30));
  const float t = static_cast<float>(r) * 0x1p-32f;
  const float z = t * t;
  float p = -0x1.2d9302p+6f;
  p = std::fma(p, z, 0x1.465e92p+6f);
  p = std::fma(p, z, -0x1.4abbc4p+5f);
  p = std::fma(p, z, 0x1.921fb6p+2f);
  const float s = t * p;
  float q = 0x1.d9f7bcp+5f;
  q = std::fma(q, z, -0x1.55c666p+6f);
  q = std::fma(q, z, 0x1.03c1d6p+6f);
  q = std::fma(q, z, -0x1.3bd3ccp+4f);
  const float c = std::fma(z, q, 1.0f);
  switch (quadrant) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

double log64(double x) {
  if (std::isnan(x) || x < 0) return std::numeric_limits<double>::quiet_NaN();
  if (x == 0) return -std::numeric_limits<double>::infinity();
  if (x == std::numeric_limits<double>::infinity()) return x;
  int64_t e = 0;
  if (x < 0x1p-1022) {
    x = x * 0x1p+54;
    e = -54;
  }
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  e += static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
  if (m >= 0x1.6a09e667f3bcdp+0) {
    m = m * 0.5;
    e += 1;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 21.0;
  for (int k = 9; k >= 1; --k) p = std::fma(p, z, 1.0 / static_cast<double>(2 * k + 1));
  const double r = std::fma(s * z, p, s);
  return std::fma(static_cast<double>(e), 0x1.62e42fefa39efp-1, 2.0 * r);
}

double exp2_64(double x) {
  static constexpr double kCoefficients[] = {
      0x1p+0,
      0x1.62e42fefa39efp-1,
      0x1.ebfbdff82c58fp-3,
      0x1.c6b08d704a0cp-5,
      0x1.3b2ab6fba4e77p-7,
      0x1.5d87fe78a6731p-10,
      0x1.430912f86c787p-13,
      0x1.ffcbfc588b0c7p-17,
      0x1.62c0223a5c824p-20,
      0x1.b5253d395e7c4p-24,
      0x1.e4cf5158b8ecap-28,
      0x1.e8cac7351bb25p-32,
      0x1.c3bd650fc2986p-36,
      0x1.816193166d0f9p-40,
  };
  const double t = x + kToInteger64;
  const double n = t - kToInteger64;
  const double f = x - n;
  double p = kCoefficients[13];
  for (int k = 12; k >= 0; --k) p = std::fma(p, f, kCoefficients[k]);
  return std::bit_cast<double>(std::bit_cast<uint64_t>(p) + (std::bit_cast<uint64_t>(t) << 52));
}

void exp2(std::span<const float> x, std::span<float> out) {
  kernels().exp2(x.data(), std::ssize(x), out.data());
}

void exp(std::span<const float> x, std::span<float> out) {
  kernels().exp(x.data(), std::ssize(x), out.data());
}

void silu(std::span<const float> x, std::span<float> out) {
  kernels().silu(x.data(), std::ssize(x), out.data());
}

void sincos_phase(std::span<const uint32_t> phase, std::span<float> sin, std::span<float> cos) {
  kernels().sincos_phase(phase.data(), std::ssize(phase), sin.data(), cos.data());
}

}  // namespace kvx::num
