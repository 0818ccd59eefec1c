// Arithmetic that the quantizers share: eight binary16 values of a row in four words, their least
// and greatest value, exact quotients by one divisor.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

// Channels [8 i, 8 i + 8) of a row in binary16; value j is half j % 2 of word j / 2.
struct Eight {
  uint32_t word[4];
  __device__ uint16_t bits(int i) const {
    return static_cast<uint16_t>(word[i / 2] >> (16 * (i % 2)));
  }
  __device__ float value(int i) const {
    const __half2 pair = *reinterpret_cast<const __half2*>(&word[i / 2]);
    return i % 2 == 0 ? __low2float(pair) : __high2float(pair);
  }
};

__device__ inline bool f16_finite(uint16_t bits) { return (bits & 0x7C00u) != 0x7C00u; }

__device__ inline bool has_non_finite(const Eight& x) {
  uint32_t seen = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) seen |= (x.word[i] & 0x7C007C00u) + 0x04000400u;
  return (seen & 0x80008000u) != 0;
}

// Two values rounded to binary16 (1.10, but for the payload of a NaN), `low` in the low half.
__device__ inline uint32_t f16_pair(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// min of both halves of a and b; -0 < +0. A NaN wins, or is skipped.
template <bool kSkipNan>
__device__ inline uint32_t min_pair(uint32_t a, uint32_t b) {
  uint32_t r;
  if constexpr (kSkipNan) {
    asm("min.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  } else {
    asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  }
  return r;
}

// Least and greatest of values in binary16: the low half holds min x, the high half min -x, so that
// one operation merges two of them, in any order.
template <bool kSkipNan>
struct MinMax {
  static constexpr uint32_t kFlip = 0x80008000u;
  // Of no values: NaNs where they are skipped, else infinities.
  static constexpr uint32_t kNone = kSkipNan ? 0x7FFF7FFFu : 0x7C007C00u;

  __device__ static uint32_t merge(uint32_t a, uint32_t b) { return min_pair<kSkipNan>(a, b); }
  __device__ static uint32_t of(uint16_t x) { return x | static_cast<uint32_t>(x ^ 0x8000u) << 16; }
  __device__ static uint32_t of(const Eight& x) {
    uint32_t low = x.word[0], high = x.word[0] ^ kFlip;
#pragma unroll
    for (int i = 1; i < 4; ++i) {
      low = merge(low, x.word[i]);
      high = merge(high, x.word[i] ^ kFlip);
    }
    return merge(__byte_perm(low, high, 0x5410), __byte_perm(low, high, 0x7632));
  }
  __device__ static uint16_t min_bits(uint32_t m) { return static_cast<uint16_t>(m); }
  __device__ static float min(uint32_t m) { return f16_decode(min_bits(m)); }
  __device__ static float max(uint32_t m) {
    return f16_decode(static_cast<uint16_t>(m >> 16 ^ 0x8000u));
  }
  // max |x|
  __device__ static float magnitude(uint32_t m) {
    const float low = -min(m), high = max(m);
    return low > high ? low : high;
  }
  __device__ static bool finite(uint32_t m) {
    return ((m & 0x7C007C00u) + 0x04000400u & 0x80008000u) == 0;
  }
};

// Correctly rounded quotients x / d. With r = RN(1 / d) the first q is off by at most 1.5 ulp, the
// second is one of the two neighbours of x / d, and a step from such a one with an exact remainder
// gives the IEEE quotient (Markstein, IBM J. Res. Dev. 34(1), 1990). Needs d within 2^-60 .. 2^60
// and x zero or within 2^-40 .. 2^40: no remainder is subnormal there.
struct Divisor {
  float d = 1.0f;
  float r = 1.0f;  // RN(1 / d)

  __device__ static Divisor of(float d) { return {d, __frcp_rn(d)}; }

  // Off by less than 1 ulp.
  __device__ float faithful(float x) const {
    const float q = __fmul_rn(x, r);
    return __fmaf_rn(__fmaf_rn(-q, d, x), r, q);
  }
  __device__ float quotient(float x) const {
    const float q = faithful(x);
    return __fmaf_rn(__fmaf_rn(-q, d, x), r, q);
  }
};

// Rounded to binary16; the payload of a NaN is lost.
__device__ inline float round_half(float x) { return __half2float(__float2half_rn(x)); }

// |x| < 2^22, to the nearest integer, ties to even: the low bits of the result are its two's
// complement.
__device__ inline uint32_t nearest_bits(float x) {
  return __float_as_uint(__fadd_rn(x, 0x1.8p+23f));
}
// 0 <= x < 2^23, cut to an integer: in the low 23 bits.
__device__ inline uint32_t floor_bits(float x) { return __float_as_uint(__fadd_rz(x, 0x1p+23f)); }

// The low `bits` bits of eight codes to `bits` bytes at `to`, little-endian.
__device__ inline void pack8(std::byte* to, int bits, const uint32_t (&code)[8]) {
  const uint32_t mask = bits < 32 ? (1u << bits) - 1u : ~0u;
  switch (bits) {
    case 2: {
      uint32_t w = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) w |= (code[i] & mask) << (2 * i);
      *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(w);
      return;
    }
    case 4: {
      uint32_t w = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) w |= (code[i] & mask) << (4 * i);
      *reinterpret_cast<uint32_t*>(to) = w;
      return;
    }
    case 8: {
      uint2 w = {0, 0};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w.x |= (code[i] & mask) << (8 * i);
        w.y |= (code[i + 4] & mask) << (8 * i);
      }
      *reinterpret_cast<uint2*>(to) = w;
      return;
    }
    default: {  // 3, 5, 6, 7
      uint64_t w = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) w |= static_cast<uint64_t>(code[i] & mask) << (bits * i);
      for (int i = 0; i < bits; ++i) to[i] = static_cast<std::byte>(w >> (8 * i));
    }
  }
}

// Statistics of one word or more, each given to `f`: how they travel between lanes.
template <class F>
__device__ inline uint32_t map_words(uint32_t stats, F f) {
  return f(stats);
}

template <class Codec>
__device__ inline void encode8(const Codec& codec, const Eight& x,
                               const typename Codec::Group& group, uint32_t (&code)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) code[i] = codec.encode(x.value(i), group);
}

// A stored pattern of 2 or 4 bytes, element `at` of an array.
__device__ inline void store_pattern(std::byte* array, int bytes, int64_t at, uint32_t pattern) {
  if (bytes == 2) {
    reinterpret_cast<uint16_t*>(array)[at] = static_cast<uint16_t>(pattern);
  } else {
    reinterpret_cast<uint32_t*>(array)[at] = pattern;
  }
}

}  // namespace kvx::gpu
