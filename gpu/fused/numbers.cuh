// The arithmetic `fixed` (sim/num/fixed.md, 1 and 2) on the device: constants and small functions.
#pragma once

#include <cstdint>

#include "gpu/cache/layout.h"
#include "gpu/common/ieee.cuh"

namespace kvx::gpu::fused {

inline constexpr int kTileRows = 128;
inline constexpr int kSegmentTiles = 8;
inline constexpr int kSpanSegments = 8;
inline constexpr int kSegmentRows = kTileRows * kSegmentTiles;
inline constexpr int kSpanRows = kSegmentRows * kSpanSegments;

inline constexpr float kMagic = 12582912.0f;
inline constexpr int kMagicBits = 0x4B400000;
inline constexpr float kScoreBound = 0x1p+20f;
// Maxima are kept as the bits of x + kMagic: kMagicBits above n, and always above
inline constexpr int kNoMaximum = 0;  // minus infinity, M of a part without a tile.
inline constexpr uint32_t kExponentMask = 0x7F800000u;

// pw(e)
__device__ __forceinline__ float power(int e) {
  return e < -100 ? 0.0f : __uint_as_float(static_cast<uint32_t>(e + 127) << 23);
}
__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x) % 32; }
// Eight codes of 3 bits, the lowest 24, to 4 bits each.
__device__ __forceinline__ uint32_t spread3(uint32_t x) {
  x = (x & 0x00000FFFu) | (x << 4 & 0x0FFF0000u);
  x = (x & 0x003F003Fu) | (x << 2 & 0x3F003F00u);
  return (x & 0x07070707u) | (x << 1 & 0x70707070u);
}
// rni(a * b)
__device__ __forceinline__ int nearest(float a, float b) {
  return static_cast<int>(__float_as_uint(__fmaf_rn(a, b, kMagic))) - kMagicBits;
}

// Exponents are kept as the bits of a power of two.
// 2^e of the digits of q * s, from the bits of the greatest |y| (step 1).
__device__ __forceinline__ uint32_t query_exponent(uint32_t greatest) {
  return max((greatest + 0x20000u) & kExponentMask, (127u - 64u) << 23);
}
// 2^(14 - e)
__device__ __forceinline__ float query_factor(uint32_t exponent) {
  return __uint_as_float(((127u + 127u + 14u) << 23) - exponent);
}
// 2^(eu + 21), from the bits of the greatest u (step 6).
__device__ __forceinline__ uint32_t weight_exponent(uint32_t greatest) {
  return max((greatest + 0x80u) & kExponentMask, (127u - 64u + 21u) << 23);
}
// 2^(15 - 21 - eu)
__device__ __forceinline__ float weight_factor(uint32_t exponent) {
  return __uint_as_float(((127u + 127u + 15u) << 23) - exponent);
}
// 2^ez, from the bits of the greatest |z| (step 7).
__device__ __forceinline__ uint32_t zero_exponent(uint32_t greatest) {
  return max(greatest & kExponentMask, (127u - 64u) << 23);
}
// 2^(-3 - ez)
__device__ __forceinline__ float zero_factor(uint32_t exponent) {
  return __uint_as_float(((127u + 127u - 3u) << 23) - exponent);
}
__device__ __forceinline__ int exponent_of(uint32_t power_bits) {
  return static_cast<int>(power_bits >> 23) - 127;
}

// A score's nearest integer, kMagicBits above it, and 2^(score - integer + 21) (steps 4 and 5).
struct Exponential {
  int n;
  float p;
};
__device__ __forceinline__ Exponential exponential(float x) {
  const float t = __fadd_rn(x, kMagic);
  const float f = __fsub_rn(x, __fsub_rn(t, kMagic));
  float p = __fmaf_rn(0x1.3a02c6p+14f, f, 0x1.c9fc46p+16f);
  p = __fmaf_rn(p, f, 0x1.ec0368p+18f);
  p = __fmaf_rn(p, f, 0x1.62e142p+20f);
  return {__float_as_int(t), __fmaf_rn(p, f, 0x1p+21f)};
}
// The weight of a visible row below the maximum m.
__device__ __forceinline__ float weight(const Exponential& e, int m) {
  return __uint_as_float(__float_as_uint(e.p) + (static_cast<uint32_t>(max(e.n - m, -100)) << 23));
}

__device__ __forceinline__ float clamp_score(float x) {
  return fminf(fmaxf(x, -kScoreBound), kScoreBound);
}

__device__ __forceinline__ float half_at(const void* from, int64_t i) {
  return f16_decode(static_cast<const uint16_t*>(from)[i]);
}
// kCount halves, a multiple of 4, from a multiple of 8 bytes.
template <int kCount>
__device__ __forceinline__ void load_halves(const void* from, float (&to)[kCount]) {
  static_assert(kCount % 4 == 0);
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const uint2 x = static_cast<const uint2*>(from)[i / 4];
    to[i] = f16_decode(static_cast<uint16_t>(x.x));
    to[i + 1] = f16_decode(static_cast<uint16_t>(x.x >> 16));
    to[i + 2] = f16_decode(static_cast<uint16_t>(x.y));
    to[i + 3] = f16_decode(static_cast<uint16_t>(x.y >> 16));
  }
}

}  // namespace kvx::gpu::fused
