// Weights of a tile's rows for a warp's 16 queries and their digits (fixed.md, steps 3 to 7).
#pragma once

#include "gpu/fused/prefill_scores.cuh"
#include "gpu/fused/weights.cuh"

namespace kvx::gpu::fused {

// Rows of a tile that the queries of a lane see; `masked`: some query of the warpgroup not all.
struct Seen {
  int rows[2];
  bool masked;

  __device__ bool row(int r, int w, int i, int t) const { return 16 * w + 4 * t + i < rows[r]; }
  // Puts x where a row is not seen.
  __device__ void mask(RowNumbers& numbers, int t, float x) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int w = 0; w < kRowWords; ++w)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (!row(r, w, i, t)) numbers.x[w][r][i] = x;
  }
};

// Scores to weights p. m, l: of the tile; a query that sees no row has kNoMaximum and 0.
__device__ inline void weigh_rows(bool far, const Seen& seen, int t, RowNumbers& rows, int (&m)[2],
                                  int (&l)[2]) {
  if (far) {
#pragma unroll
    for (int w = 0; w < kRowWords; ++w)
#pragma unroll
      for (int i = 0; i < 8; ++i) rows.x[w][i / 4][i % 4] = clamp_score(rows.x[w][i / 4][i % 4]);
  }
  if (seen.masked) seen.mask(rows, t, kUnseen);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = kUnseen;
#pragma unroll
    for (int w = 0; w < kRowWords; ++w)
#pragma unroll
      for (int i = 0; i < 4; ++i) most = fmaxf(most, rows.x[w][r][i]);
    m[r] = __float_as_int(__fadd_rn(quad_max(most), kMagic));
    uint32_t mass = 0;
#pragma unroll
    for (int w = 0; w < kRowWords; ++w)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& x = rows.x[w][r][i];
        x = weight(exponential(x), m[r]);
        mass += __float_as_uint(__fadd_rn(x, kMagic));
      }
    l[r] = static_cast<int>(quad_sum(mass) - (static_cast<uint32_t>(kMagicBits) << 7));
    if (seen.rows[r] <= 0) m[r] = kNoMaximum, l[r] = 0;
  }
  if (seen.masked) seen.mask(rows, t, 0.0f);
}

// Digits of p * s of a V group, for products of 32 rows.
struct WeightDigits {
  DigitPlanes<kTileRows / 32> planes;
  int unit[2];                 // eu - 15
  int zeros[2], zero_unit[2];  // zi, ez - 18
};

// scale, zero: [row], +0 where no query sees it. kLast: the weights are not wanted any more.
template <bool kLast>
__device__ inline void digest(const float* scale, const float* zero, const Seen& seen,
                              const Fragment& at, RowNumbers& rows, WeightDigits& digits) {
  uint32_t ez[2];
  if (seen.masked) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = 0.0f;
#pragma unroll
      for (int w = 0; w < kRowWords; ++w)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (seen.row(r, w, i, at.t)) most = fmaxf(most, fabsf(zero[16 * w + 4 * at.t + i]));
      ez[r] = zero_exponent(__float_as_uint(quad_max(most)));
    }
  } else {
    float z[4];
    load4(zero + 4 * at.lane, z);
    ez[0] = ez[1] = zero_exponent(__reduce_max_sync(~0u, greatest(z)));
  }
  const float factor_z[2] = {zero_factor(ez[0]), zero_factor(ez[1])};
  float most[2] = {};
  uint32_t sum[2] = {};
  const auto times_scale = [&](int w, int r, const float(&s)[4], float(&u)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) u[i] = __fmul_rn(rows.x[w][r][i], s[i]);
  };
#pragma unroll
  for (int w = 0; w < kRowWords; ++w) {
    float s[4], z[4];
    load4(scale + 16 * w + 4 * at.t, s);
    load4(zero + 16 * w + 4 * at.t, z);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float u[4];
      const float b = chain4(rows.x[w][r], z);
      sum[r] += __float_as_uint(__fmaf_rn(b, factor_z[r], kMagic));
      times_scale(w, r, s, u);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        most[r] = fmaxf(most[r], fabsf(u[i]));
        if (kLast) rows.x[w][r][i] = u[i];
      }
    }
  }
  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const uint32_t eu = weight_exponent(__float_as_uint(quad_max(most[r])));
    factor[r] = weight_factor(eu);
    digits.unit[r] = exponent_of(eu) - (21 + 15);
    digits.zeros[r] = static_cast<int>(quad_sum(sum[r]) - (static_cast<uint32_t>(kMagicBits) << 5));
    digits.zero_unit[r] = exponent_of(ez[r]) - 18;
  }
#pragma unroll
  for (int w = 0; w < kRowWords; ++w) {
    float s[4];
    if constexpr (!kLast) load4(scale + 16 * w + 4 * at.t, s);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float u[4];
      if constexpr (kLast) {
#pragma unroll
        for (int i = 0; i < 4; ++i) u[i] = rows.x[w][r][i];
      } else {
        times_scale(w, r, s, u);
      }
      uint32_t d[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(__fmaf_rn(u[i], factor[r], 8388608.0f));
      digits.planes.set(w, r, d, 0u);
    }
  }
}

}  // namespace kvx::gpu::fused
