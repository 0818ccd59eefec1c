// The functions of `ieee` (sim/num/ieee.md, 1) on the device. Everything is compiled without
// contraction; fma only where it is written.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "gpu/common/max_nan.cuh"

namespace kvx::gpu {

__device__ inline bool is_nan(float x) { return x != x; }
__device__ inline bool is_nan(double x) { return x != x; }
__device__ inline bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7F800000u) != 0x7F800000u;
}

// Steps 3 and 4 of 1.1.
__device__ inline float exp2_tail(float f, float t) {
  float p = 0x1.41fbbap-13f;
  p = __fmaf_rn(p, f, 0x1.5f3e52p-10f);
  p = __fmaf_rn(p, f, 0x1.3b2d4ap-7f);
  p = __fmaf_rn(p, f, 0x1.c6aef6p-5f);
  p = __fmaf_rn(p, f, 0x1.ebfbd8p-3f);
  p = __fmaf_rn(p, f, 0x1.62e43p-1f);
  p = __fmaf_rn(p, f, 1.0f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
}

// 1.1
__device__ inline float exp2_ieee(float x) {
  const float t = __fadd_rn(x, 0x1.8p+23f);
  const float n = __fsub_rn(t, 0x1.8p+23f);
  float r = exp2_tail(__fsub_rn(x, n), t);
  if (x >= 128.0f) r = __uint_as_float(0x7F800000u);
  if (x < -126.0f) r = 0.0f;
  return is_nan(x) ? x : r;
}

// 1.2
__device__ inline float exp_ieee(float x) {
  const float t = __fmaf_rn(x, 0x1.715476p+0f, 0x1.8p+23f);
  const float n = __fsub_rn(t, 0x1.8p+23f);
  float f = __fmaf_rn(x, 0x1.715476p+0f, -n);
  f = __fmaf_rn(x, 0x1.4ae0cp-26f, f);
  float r = exp2_tail(f, t);
  if (x > 0x1.62e42ep+6f) r = __uint_as_float(0x7F800000u);
  if (x < -0x1.5d589ep+6f) r = 0.0f;
  return is_nan(x) ? x : r;
}

// 1.3
__device__ inline float silu_ieee(float x) { return __fdiv_rn(x, __fadd_rn(1.0f, exp_ieee(-x))); }

// 1.4
__device__ inline float rsqrt_ieee(float x) { return __fdiv_rn(1.0f, __fsqrt_rn(x)); }

// 1.5
__device__ inline void sincos_phase(uint32_t phase, float& sin, float& cos) {
  const uint32_t q = (phase + 0x20000000u) >> 30;
  const int32_t r = static_cast<int32_t>(phase - (q << 30));
  const float t = __fmul_rn(__int2float_rn(r), 0x1p-32f);
  const float z = __fmul_rn(t, t);
  float p = -0x1.2d9302p+6f;
  p = __fmaf_rn(p, z, 0x1.465e92p+6f);
  p = __fmaf_rn(p, z, -0x1.4abbc4p+5f);
  p = __fmaf_rn(p, z, 0x1.921fb6p+2f);
  const float s = __fmul_rn(t, p);
  float c = 0x1.d9f7bcp+5f;
  c = __fmaf_rn(c, z, -0x1.55c666p+6f);
  c = __fmaf_rn(c, z, 0x1.03c1d6p+6f);
  c = __fmaf_rn(c, z, -0x1.3bd3ccp+4f);
  c = __fmaf_rn(z, c, 1.0f);
  const bool swap = (q & 1u) != 0;
  const float a = swap ? c : s, b = swap ? s : c;
  const uint32_t flip_sin = (q & 2u) << 30, flip_cos = ((q + 1u) & 2u) << 30;
  sin = __uint_as_float(__float_as_uint(a) ^ flip_sin);
  cos = __uint_as_float(__float_as_uint(b) ^ flip_cos);
}

// 1.6
__device__ inline double log64_ieee(double x) {
  if (is_nan(x) || x < 0.0) return __longlong_as_double(0x7FF8000000000000ll);
  if (x == 0.0) return -__longlong_as_double(0x7FF0000000000000ll);
  if (x > 0x1.fffffffffffffp+1023) return x;
  int e = -1023;
  if (x < 0x1p-1022) {
    x = __dmul_rn(x, 0x1p+54);
    e -= 54;
  }
  const auto bits = static_cast<uint64_t>(__double_as_longlong(x));
  e += static_cast<int>(bits >> 52);
  double m = __longlong_as_double(
      static_cast<long long>((bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull));
  if (m >= 0x1.6a09e667f3bcdp+0) {
    m = __dmul_rn(m, 0.5);
    e += 1;
  }
  const double s = __ddiv_rn(__dsub_rn(m, 1.0), __dadd_rn(m, 1.0));
  const double z = __dmul_rn(s, s);
  double p = 1.0 / 21;
#pragma unroll
  for (int k = 9; k >= 1; --k) p = __fma_rn(p, z, 1.0 / (2 * k + 1));
  const double r = __fma_rn(__dmul_rn(s, z), p, s);
  return __fma_rn(static_cast<double>(e), 0x1.62e42fefa39efp-1, __dmul_rn(2.0, r));
}

// 1.10: a NaN keeps its sign and highest payload bits and becomes quiet.
__device__ inline uint16_t f16_encode(float x) {
  if (is_nan(x)) {
    const uint32_t b = __float_as_uint(x);
    return static_cast<uint16_t>(((b >> 16) & 0x8000u) | 0x7E00u | ((b >> 13) & 0x1FFu));
  }
  return __half_as_ushort(__float2half_rn(x));
}
__device__ inline float f16_decode(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ inline float fl16(float x) { return f16_decode(f16_encode(x)); }

__device__ inline uint16_t bf16_encode(float x) {
  const uint32_t b = __float_as_uint(x);
  if (is_nan(x)) return static_cast<uint16_t>((b >> 16) | 0x40u);
  return static_cast<uint16_t>((b + 0x7FFFu + ((b >> 16) & 1u)) >> 16);
}
__device__ inline float bf16_decode(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

}  // namespace kvx::gpu
