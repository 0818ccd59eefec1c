// Digits of a warp's 16 queries and their scores of a tile (fixed.md, steps 1 to 3).
#pragma once

#include "gpu/fused/tile_bytes.cuh"

namespace kvx::gpu::fused {

// Scores, then weights, of a lane's queries g and g + 8: rows 16 w + 4 t + i of the tile.
struct RowNumbers {
  float x[kRowWords][2][4];
};

// The two queries of a lane.
struct QueryFactors {
  float unit[2], zero[2];  // KeyFactor's, without a high field
};

__device__ inline float greatest_of(const float (&y)[4], float most) {
#pragma unroll
  for (int i = 0; i < 4; ++i) most = fmaxf(most, fabsf(y[i]));
  return most;
}
__device__ inline void load4(const float* from, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}

// Digits of words [first, first + kCount) of a query from their numbers; gives 2^e.
template <int kCount, int kProducts>
__device__ inline float query_digits(const float (&y)[kCount][4], int first, int r,
                                     DigitPlanes<kProducts>& digits) {
  float most = 0.0f;
#pragma unroll
  for (int w = 0; w < kCount; ++w) most = greatest_of(y[w], most);
  const uint32_t exponent = query_exponent(__float_as_uint(quad_max(most)));
  const float factor = query_factor(exponent);
#pragma unroll
  for (int w = 0; w < kCount; ++w) {
    uint32_t d[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(__fmaf_rn(y[w][i], factor, kMagic + 128.0f));
    digits.set(first + w, r, d, 0x80808080u);
  }
  return __uint_as_float(exponent);
}

// Step 2's sum of products with z over kCount words of channels. product(w, sum): the chain of the
// lane's four channels of word w behind sum.
template <int kCount, class Product>
__device__ inline float zero_sum(Product product) {
  float r[kCount];
#pragma unroll
  for (int w = 0; w < kCount; ++w) r[w] = product(w);
#pragma unroll
  for (int h = kCount / 2; h >= 1; h /= 2)
#pragma unroll
    for (int w = 0; w < h; ++w) r[w] = __fadd_rn(r[w], r[w + h]);
  const float sum = __fadd_rn(r[0], __shfl_xor_sync(~0u, r[0], 2));
  return __fadd_rn(sum, __shfl_xor_sync(~0u, sum, 1));
}
__device__ inline float chain4(const float (&a)[4], const float (&b)[4]) {
  float r = __fmaf_rn(a[0], b[0], 0.0f);
#pragma unroll
  for (int i = 1; i < 4; ++i) r = __fmaf_rn(a[i], b[i], r);
  return r;
}

// The warp's queries in shared memory, of each lane its own: [word][r][lane].
template <int kDim>
struct WarpQueries {
  float4 q[kDim / 16][2][32];
};

// Along tokens: digits and factors of one K group; scale and zero [kDim]. Returns whether scores
// may leave the clamp's range.
template <int kDim>
__device__ inline bool digits_along_tokens(const WarpQueries<kDim>& q, const Fragment& at,
                                           const float* scale, const float* zero, int bits, float c,
                                           DigitPlanes<kDim / 32>& digits, QueryFactors& f) {
  constexpr int kWords = kDim / 16;
  bool far = false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float y[kWords][4];
    const float sum = zero_sum<kWords>([&](int w) {
      float x[4], s[4], z[4];
      load4(&q.q[w][r][at.lane].x, x);
      load4(scale + 16 * w + 4 * at.t, s);
      load4(zero + 16 * w + 4 * at.t, z);
#pragma unroll
      for (int i = 0; i < 4; ++i) y[w][i] = __fmul_rn(x[i], s[i]);
      return chain4(x, z);
    });
    f.unit[r] = __fmul_rn(__fmul_rn(c, 0x1p-14f), query_digits<kWords>(y, 0, r, digits));
    f.zero[r] = __fmul_rn(sum, c);
    // |S| <= kDim 2^b 2^15.
    const float most = __fmul_rn(__fmul_rn(f.unit[r], kDim),
                                 __uint_as_float((127u + 15u + static_cast<uint32_t>(bits)) << 23));
    far |= !(__fadd_rn(most, fabsf(f.zero[r])) < 0.5f * kScoreBound);
  }
  return __any_sync(~0u, far) != 0;
}

// Along channels: what all tiles share.
template <int kDim, int kSets>
struct ChannelDigits {
  uint4 plane[2][kDim / 32][32];
  QueryFactors factors[kSets][32];
};

template <int kDim, int kSets>
__device__ inline void digits_along_channels(const float* const (&q)[2], const Fragment& at,
                                             ChannelDigits<kDim, kSets>& to) {
  constexpr int kWords = kDim / 16 / kSets;
  DigitPlanes<kDim / 32> digits;
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
    QueryFactors f;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float y[kWords][4];
#pragma unroll
      for (int w = 0; w < kWords; ++w) load4(q[r] + 16 * (set * kWords + w) + 4 * at.t, y[w]);
      f.zero[r] = zero_sum<kWords>([&](int w) { return chain4(y[w], {1.0f, 1.0f, 1.0f, 1.0f}); });
      f.unit[r] = __fmul_rn(0x1p-14f, query_digits<kWords>(y, set * kWords, r, digits));
    }
    to.factors[set][at.lane] = f;
  }
#pragma unroll
  for (int k = 0; k < kDim / 32; ++k) {
    const uint32_t(&h)[4] = digits.high[k], (&l)[4] = digits.low[k];
    to.plane[0][k][at.lane] = make_uint4(h[0], h[1], h[2], h[3]);
    to.plane[1][k][at.lane] = make_uint4(l[0], l[1], l[2], l[3]);
  }
}

// Sums of products of 32 columns with both planes of digits.
struct Products {
  int high[16], low[16];

  // Asks for steps [first, first + count) of K with `columns`.
  template <int kProducts>
  __device__ void ask_keys(const DigitPlanes<kProducts>& digits, const Columns& columns, int first,
                           int count) {
    begin_products();
#pragma unroll
    for (int k = first; k < first + count; ++k) {
      multiply_group_signed(high, digits.high[k], columns, k, k > first);
      multiply_group_signed(low, digits.low[k], columns, k, k > first);
    }
    end_products();
  }
  // The same of V, all steps.
  __device__ void ask_values(const DigitPlanes<kTileRows / 32>& digits, const Columns& columns) {
    begin_products();
#pragma unroll
    for (int k = 0; k < kTileRows / 32; ++k) {
      multiply_group_unsigned(high, digits.high[k], columns, k, k > 0);
      multiply_group_unsigned(low, digits.low[k], columns, k, k > 0);
    }
    end_products();
  }
  template <int kPending>
  __device__ void wait() {
    wait_for_products<kPending>(high);
    wait_for_products<kPending>(low);
  }
  __device__ float sum(int i) const { return __int2float_rn(high[i] * 256 + low[i]); }
};

// Calls use(i, products) for kCount groups of products, each asked for by ask(i, products) while
// the one before is used.
template <int kCount, class Ask, class Use>
__device__ inline void pipeline(Ask ask, Use use) {
  Products p[2];
  ask(0, p[0]);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i + 1 < kCount) {
      ask(i + 1, p[(i + 1) % 2]);
      p[i % 2].template wait<1>();
    } else {
      p[i % 2].template wait<0>();
    }
    use(i, p[i % 2]);
  }
}

// Step 3a without the clamp, of rows [32 first, 32 (first + kCount)).
template <int kDim, int kCount>
__device__ inline void score_along_tokens(const Columns& keys, int first,
                                          const DigitPlanes<kDim / 32>& digits,
                                          const QueryFactors& f, RowNumbers& scores) {
  pipeline<kCount>(
      [&](int i, Products& p) { p.ask_keys(digits, keys.from((first + i) * 32), 0, kDim / 32); },
      [&](int i, const Products& p) {
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          const int w = 2 * (first + i) + j / 8, r = j / 2 % 2;
          scores.x[w][r][j / 4 % 2 * 2 + j % 2] = __fmaf_rn(p.sum(j), f.unit[r], f.zero[r]);
        }
      });
}

// Step 3b without the clamp. numbers: [set][scales, zeros][row].
template <int kDim, int kSets>
__device__ inline void score_along_channels(const Columns& keys, const float* numbers,
                                            const Fragment& at,
                                            const ChannelDigits<kDim, kSets>& channel_digits,
                                            float c, RowNumbers& scores) {
  constexpr int kProducts = kDim / 32 / kSets;
  DigitPlanes<kDim / 32> digits;
#pragma unroll
  for (int k = 0; k < kDim / 32; ++k) {
    const uint4 h = channel_digits.plane[0][k][at.lane], l = channel_digits.plane[1][k][at.lane];
    digits.high[k][0] = h.x, digits.high[k][1] = h.y;
    digits.high[k][2] = h.z, digits.high[k][3] = h.w;
    digits.low[k][0] = l.x, digits.low[k][1] = l.y;
    digits.low[k][2] = l.z, digits.low[k][3] = l.w;
  }
  pipeline<kTileRows / 32 * kSets>(
      [&](int i, Products& p) {
        p.ask_keys(digits, keys.from(i / kSets * 32), i % kSets * kProducts, kProducts);
      },
      [&](int i, const Products& p) {
        const int set = i % kSets;
        const QueryFactors f = channel_digits.factors[set][at.lane];
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          const int w = 2 * (i / kSets) + j / 8, r = j / 2 % 2, e = j / 4 % 2 * 2 + j % 2;
          const float* from = numbers + set * 2 * kTileRows + 16 * w + 4 * at.t + e;
          float& x = scores.x[w][r][e];
          x = __fmaf_rn(p.sum(j), __fmul_rn(from[0], f.unit[r]), set == 0 ? 0.0f : x);
          x = __fmaf_rn(f.zero[r], from[kTileRows], x);
          if (set + 1 == kSets) x = __fmul_rn(x, c);
        }
      });
}

}  // namespace kvx::gpu::fused
