// Arithmetic that the quantizers share: eight binary16 values of a row in four words, their least
// and greatest value, exact quotients by one divisor.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

__device__ inline __half2 as_half2(uint32_t pair) {
  return *reinterpret_cast<const __half2*>(&pair);
}
__device__ inline uint32_t as_word(__half2 pair) {
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ inline float low_half(uint32_t pair) { return __low2float(as_half2(pair)); }
__device__ inline float high_half(uint32_t pair) { return __high2float(as_half2(pair)); }

// Channels [8 i, 8 i + 8) of a row in binary16; value j is half j % 2 of word j / 2.
struct Eight {
  uint32_t word[4];
  __device__ uint16_t bits(int i) const {
    return static_cast<uint16_t>(word[i / 2] >> (16 * (i % 2)));
  }
};

// Unsigned division by a number that the host knows, of n < 2^31 (Granlund and Montgomery, PLDI
// 1994).
struct FastDiv {
  uint32_t divisor = 1, magic = 1, shift = 0;

  FastDiv() = default;
  explicit FastDiv(int by) : divisor(static_cast<uint32_t>(by)) {
    while (uint64_t{1} << shift < divisor) ++shift;
    magic = static_cast<uint32_t>((((uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
  }
  __device__ int quotient(int n) const {
    const auto u = static_cast<uint32_t>(n);
    return static_cast<int>((__umulhi(u, magic) + u) >> shift);
  }
  __device__ int remainder(int n, int quotient_of_n) const {
    return n - quotient_of_n * static_cast<int>(divisor);
  }
};

__device__ inline bool f16_finite(uint16_t bits) { return (bits & 0x7C00u) != 0x7C00u; }

// The greatest magnitudes of pairs of values; a NaN wins.
__device__ inline uint32_t max_magnitudes(uint32_t seen, uint32_t pair) {
  return as_word(__hmax2_nan(as_half2(seen), __habs2(as_half2(pair))));
}
__device__ inline uint32_t max_magnitudes(uint32_t seen, const Eight& x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) seen = max_magnitudes(seen, x.word[i]);
  return seen;
}
__device__ inline bool pair_finite(uint32_t pair) {
  return ((pair & 0x7C007C00u) + 0x04000400u & 0x80008000u) == 0;
}

// Two values rounded to binary16 (1.10, but for the payload of a NaN), `low` in the low half.
__device__ inline uint32_t f16_pair(float low, float high) {
  return as_word(__floats2half2_rn(low, high));
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

template <bool kSkipNan>
__device__ inline uint32_t max_pair(uint32_t a, uint32_t b) {
  return as_word(kSkipNan ? __hmax2(as_half2(a), as_half2(b))
                          : __hmax2_nan(as_half2(a), as_half2(b)));
}

// Least and greatest of values in binary16: the low half holds min x, the high half min -x, so that
// one operation merges two of them, in any order.
template <bool kSkipNan>
struct MinMax {
  static constexpr uint32_t kFlip = 0x80008000u;
  // Of no values: NaNs where they are skipped, else infinities.
  static constexpr uint32_t kNone = kSkipNan ? 0x7FFF7FFFu : 0x7C007C00u;

  __device__ static uint32_t merge(uint32_t a, uint32_t b) { return min_pair<kSkipNan>(a, b); }
  __device__ static uint32_t greater(uint32_t a, uint32_t b) { return max_pair<kSkipNan>(a, b); }
  __device__ static uint32_t of(uint16_t x) { return x | static_cast<uint32_t>(x ^ 0x8000u) << 16; }
  template <int kCount>
  __device__ static uint32_t of(const Eight* x) {
    uint32_t low = x->word[0], high = x->word[0];
#pragma unroll
    for (int i = 1; i < 4 * kCount; ++i) {
      low = merge(low, x[i / 4].word[i % 4]);
      high = greater(high, x[i / 4].word[i % 4]);
    }
    high ^= kFlip;
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
  __device__ static bool finite(uint32_t m) { return pair_finite(m); }
};

// Quotients x / d, rounded once as IEEE asks. With r = RN(1 / d) the product q = x r is off by at
// most 1.5 ulp; q + r (x - q d), the remainder exact, is that of x / d moved by less than 2^-22 ulp
// and rounded. Needs d within 2^-60 .. 2^60 and x zero or within 2^-40 .. 2^40: no remainder is
// subnormal.
struct Divisor {
  float d = 1.0f;
  float r = 1.0f;  // RN(1 / d)

  __device__ static Divisor of(float d) { return {d, __frcp_rn(d)}; }

  // d of at most 11 bits: a quotient is never halfway between two binary32 numbers M, as M d has
  // more bits than x, and no nearer to one than 2^-12 ulp, as x - M d is an integer in units of
  // |x| 2^-36. So one step suffices.
  __device__ float quotient(float x) const {
    const float q = __fmul_rn(x, r);
    return __fmaf_rn(__fmaf_rn(-q, d, x), r, q);
  }
  // Any d: the first step gives a neighbour of x / d, a step from such a one the nearest
  // (Markstein, IBM J. Res. Dev. 34(1), 1990).
  __device__ float long_quotient(float x) const {
    const float q = quotient(x);
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

// Two codes of a pair of values, the first in the low half, of `bits` bits each; `mask` has them
// set in both halves.
__device__ inline uint32_t code_pair(uint32_t a, uint32_t b, uint32_t mask) {
  return __byte_perm(a, b, 0x5410) & mask;
}

// Both halves as signed integers.
__device__ inline uint32_t clamp_pair(uint32_t pair, uint32_t least, uint32_t most) {
  return __vmins2(__vmaxs2(pair, least), most);
}

// Eight codes of 2 and of 4 bits, in pairs, as a little-endian bit stream.
__device__ inline uint32_t pack8_of_2(const uint32_t (&pair)[4]) {
  const uint32_t w = pair[0] + (pair[1] << 4) + (pair[2] << 8) + (pair[3] << 12);
  return (w | w >> 14) & 0xFFFFu;
}
__device__ inline uint32_t pack8_of_4(const uint32_t (&pair)[4]) {
  const uint32_t low = pair[0] + (pair[1] << 8), high = pair[2] + (pair[3] << 8);
  return __byte_perm(low | low >> 12, high | high >> 12, 0x5410);
}

// Eight codes of `bits` bits, in pairs, to `bits` bytes at `to`, little-endian.
__device__ inline void pack8(std::byte* to, int bits, const uint32_t (&pair)[4]) {
  switch (bits) {
    case 2: {
      *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(pack8_of_2(pair));
      return;
    }
    case 4: {
      *reinterpret_cast<uint32_t*>(to) = pack8_of_4(pair);
      return;
    }
    case 8: {
      *reinterpret_cast<uint2*>(to) = {__byte_perm(pair[0], pair[1], 0x6420),
                                       __byte_perm(pair[2], pair[3], 0x6420)};
      return;
    }
    default: {  // 3, 5, 6, 7
      uint64_t w = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i)
        w |= static_cast<uint64_t>(pair[i / 2] >> (16 * (i % 2)) & 0xFFu) << (bits * i);
      for (int i = 0; i < bits; ++i) to[i] = static_cast<std::byte>(w >> (8 * i));
    }
  }
}

// Statistics of one word or more, each given to `f`: how they travel between lanes.
template <class F>
__device__ inline uint32_t map_words(uint32_t stats, F f) {
  return f(stats);
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
