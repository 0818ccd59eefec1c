// Digits of the queries and their zero sums by a warp (fixed.md, steps 1 and 2).
//
// Digits lie in the order in which keys are read (keys.cuh): word 2 k + h of quarter t and a column
// is half h of product k.
#pragma once

#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

inline constexpr int kDigitPitch = 144;  // bytes from column to column

KVX_HD constexpr int digit_bytes(int queries) { return 2 * queries * kDigitPitch; }

// Channels of four codes that lie in one operand word: first + i * step, within a quarter.
struct WordChannels {
  int first, step;

  // Word `word` of a quarter's digits.
  __device__ WordChannels(int bits, int word) {
    const int pair = word / 4, field = word / 2 % 2, half = word % 2;
    if (bits == 8) {
      first = 4 * word, step = 1;
    } else if (bits == 2) {
      first = 16 * pair + 2 * half + field, step = 4;
    } else {
      first = 16 * pair + 8 * half + field, step = 2;
    }
  }
};

// What digits are worth, and the zero sum, of one K group and query.
struct KeyFactor {
  float unit;  // along tokens c 2^(e - 14 - b), along channels 2^(e - 14 - b); b: keys' high field
  float zero;  // along tokens zc, along channels w
};

// The scale that a sum with its high field takes back.
__device__ __forceinline__ float high_field(int bits) {
  return bits == 8 ? 1.0f : __uint_as_float(static_cast<uint32_t>(127 - bits) << 23);
}

// Stores four digits as the lane's word of both digit columns of a query.
__device__ __forceinline__ void store_digits(std::byte* digits, int word_at, int query,
                                             const float (&y)[4], uint32_t exponent) {
  const float factor = query_factor(exponent);
  uint32_t d[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(__fmaf_rn(y[i], factor, kMagic + 128.0f));
  const uint32_t a = __byte_perm(d[0], d[1], 0x5140), b = __byte_perm(d[2], d[3], 0x5140);
  std::byte* to = digits + 2 * query * kDigitPitch + word_at;
  *reinterpret_cast<uint32_t*>(to) = __byte_perm(a, b, 0x5410) ^ 0x80808080u;
  *reinterpret_cast<uint32_t*>(to + kDigitPitch) = __byte_perm(a, b, 0x7632);
}

__device__ __forceinline__ uint32_t greatest(const float (&x)[4]) {
  return __float_as_uint(fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3]))));
}

// Sum over lanes by the tree h = kDim / 8, .., 1 for each query; query i in lanes 8 i .. 8 i + 7
// (one query: in all).
template <int kDim, int kQueries>
__device__ __forceinline__ float tree(const float (&r)[kQueries]) {
  static_assert(kDim == 64 || kDim == 128);
  static_assert(kQueries == 1 || kQueries == 4);
  const int lane = lane_of_warp();
  float x;
  if constexpr (kQueries == 1) {
    x = r[0];
    if (kDim == 128) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 16));
    x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 8));
  } else {
    const bool up = (lane & 16) != 0;
    float two[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      two[i] = up ? r[i + 2] : r[i];
      if (kDim == 128) two[i] = __fadd_rn(two[i], __shfl_xor_sync(~0u, up ? r[i] : r[i + 2], 16));
    }
    const bool odd = (lane & 8) != 0;
    x = __fadd_rn(odd ? two[1] : two[0], __shfl_xor_sync(~0u, odd ? two[0] : two[1], 8));
  }
#pragma unroll
  for (int h = 4; h >= 1; h /= 2) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, h));
  return x;
}

// The queries of a block in shared memory, in the order of channels and in that of digit words:
// [query][lane][4], lanes repeated where the head dim is 64.
template <int kDim, int kQueries>
struct QueryMemory {
  float natural[kQueries][kDim];
  float ordered[kQueries][kDim];
};

// A value per query, chosen without a table in memory.
template <class T, int kCount>
__device__ __forceinline__ T pick(const T (&x)[kCount], int i) {
  T r = x[0];
#pragma unroll
  for (int j = 1; j < kCount; ++j)
    if (i == j) r = x[j];
  return r;
}

// Steps 1 and 2 along tokens: digits and factors of one K group. scale and zero: [kDim]. Returns
// whether scores may leave the clamp's range.
template <int kDim, int kQueries>
__device__ __forceinline__ bool token_digits(const QueryMemory<kDim, kQueries>& q,
                                             const std::byte* scale, const std::byte* zero,
                                             float zero_factor, int bits, float c,
                                             std::byte* digits, KeyFactor* factors) {
  constexpr int kLanes = kDim / 4;
  const int lane = lane_of_warp(), at = lane % kLanes;
  const WordChannels channels(bits, at / 4);
  const int first = at % 4 * kLanes + channels.first;
  float4 by_word[kQueries], in_order[kQueries];
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    by_word[h] = *reinterpret_cast<const float4*>(&q.ordered[h][4 * at]);
    in_order[h] = *reinterpret_cast<const float4*>(&q.natural[h][4 * at]);
  }
  float s[4], z[4];
  load_halves(zero + 8 * at, z);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    s[i] = half_at(scale, first + i * channels.step);
    z[i] = __fmul_rn(z[i], zero_factor);
  }
  float y[kQueries][4], r[kQueries];
  uint32_t exponent[kQueries];
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    y[h][0] = __fmul_rn(by_word[h].x, s[0]), y[h][1] = __fmul_rn(by_word[h].y, s[1]);
    y[h][2] = __fmul_rn(by_word[h].z, s[2]), y[h][3] = __fmul_rn(by_word[h].w, s[3]);
    exponent[h] = __reduce_max_sync(~0u, greatest(y[h]));
    r[h] = __fmaf_rn(in_order[h].x, z[0], 0.0f);
    r[h] = __fmaf_rn(in_order[h].y, z[1], r[h]);
    r[h] = __fmaf_rn(in_order[h].z, z[2], r[h]);
    r[h] = __fmaf_rn(in_order[h].w, z[3], r[h]);
  }
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    exponent[h] = query_exponent(exponent[h]);
    store_digits(digits, at % 4 * 32 + at / 4 * 4, h, y[h], exponent[h]);
  }
  const float sum = tree<kDim>(r);
  const int query = lane / 8;
  const KeyFactor f = {__fmul_rn(__fmul_rn(__fmul_rn(c, 0x1p-14f), high_field(bits)),
                                 __uint_as_float(pick(exponent, query % kQueries))),
                       __fmul_rn(sum, c)};
  if (lane % 8 == 0 && query < kQueries) factors[query] = f;
  // |2^b S| <= kDim 4^b 2^15.
  const float most =
      __fmul_rn(__fmul_rn(f.unit, kDim),
                __uint_as_float((127u + 15u + 2u * static_cast<uint32_t>(bits)) << 23));
  return __any_sync(~0u, !(__fadd_rn(most, fabsf(f.zero)) < 0.5f * kScoreBound));
}

// The same along channels, `sets` groups in a row, by one warp; factors: [group][kQueries].
template <int kDim, int kQueries>
__device__ __forceinline__ void channel_digits(const QueryMemory<kDim, kQueries>& q, int sets,
                                               int bits, std::byte* digits, KeyFactor* factors) {
  constexpr int kLanes = kDim / 4;
  const int lane = lane_of_warp(), at = lane % kLanes;
  const int quarter_group = at % 4 * sets / 4;
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    const float4 by_word = *reinterpret_cast<const float4*>(&q.ordered[h][4 * at]);
    const float4 in_order = *reinterpret_cast<const float4*>(&q.natural[h][4 * at]);
    const float y[4] = {by_word.x, by_word.y, by_word.z, by_word.w};
    uint32_t most = greatest(y);
    for (int x = 4; x <= 16; x *= 2) most = max(most, __shfl_xor_sync(~0u, most, x));
    if (sets <= 2) most = max(most, __shfl_xor_sync(~0u, most, 1));
    if (sets == 1) most = max(most, __shfl_xor_sync(~0u, most, 2));
    const uint32_t exponent = query_exponent(most);
    store_digits(digits, at % 4 * 32 + at / 4 * 4, h, y, exponent);
    if (lane < 4)
      factors[quarter_group * kQueries + h].unit =
          __fmul_rn(__fmul_rn(0x1p-14f, high_field(bits)), __uint_as_float(exponent));
    float r = __fmaf_rn(in_order.x, 1.0f, 0.0f);
    r = __fmaf_rn(in_order.y, 1.0f, r);
    r = __fmaf_rn(in_order.z, 1.0f, r);
    r = __fmaf_rn(in_order.w, 1.0f, r);
    for (int x = kLanes / sets / 2; x >= 1; x /= 2) r = __fadd_rn(r, __shfl_xor_sync(~0u, r, x));
    if (lane < kLanes && lane % (kLanes / sets) == 0)
      factors[lane / (kLanes / sets) * kQueries + h].zero = r;
  }
}

}  // namespace kvx::gpu::fused
