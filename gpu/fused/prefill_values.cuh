// A tile folded into the segment's sums of a warp's 16 queries (fixed.md, steps 8 and 10).
#pragma once

#include "gpu/fused/prefill_weights.cuh"

namespace kvx::gpu::fused {

// Sums of a lane's queries g + 8 r; O of channel 8 j + 2 t + i at o[j][2 r + i]. M, L and Z are the
// same in all lanes of a query.
template <int kDim, int kGroups>
struct QuerySums {
  int m[2];
  float l[2], z[2][kGroups];
  float o[kDim / 8][4];

  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      m[r] = kNoMaximum, l[r] = 0.0f;
#pragma unroll
      for (int i = 0; i < kGroups; ++i) z[r][i] = 0.0f;
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) o[j][i] = 0.0f;
  }

  // Raises M to the tile's m and adds its l; down: m - M afterwards.
  __device__ void begin_tile(const int (&tile_m)[2], const int (&tile_l)[2], int (&down)[2]) {
    if (__any_sync(~0u, tile_m[0] > m[0] || tile_m[1] > m[1])) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float factor = power(min(m[r] - tile_m[r], 0));
        m[r] = max(m[r], tile_m[r]);
        l[r] = __fmul_rn(l[r], factor);
#pragma unroll
        for (int i = 0; i < kGroups; ++i) z[r][i] = __fmul_rn(z[r][i], factor);
#pragma unroll
        for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
          for (int i = 0; i < 2; ++i) o[j][2 * r + i] = __fmul_rn(o[j][2 * r + i], factor);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      down[r] = tile_m[r] - m[r];
      l[r] = __fmaf_rn(__int2float_rn(tile_l[r]), power(down[r] - 21), l[r]);
    }
  }

  // Values times weights of V group `group`.
  __device__ void add(const Columns& values, int group, const WeightDigits& digits,
                      const int (&down)[2]) {
    float unit[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      unit[r] = power(down[r] + digits.unit[r]);
      z[r][group] = __fmaf_rn(__int2float_rn(digits.zeros[r]), power(down[r] + digits.zero_unit[r]),
                              z[r][group]);
    }
    constexpr int kCount = kDim / 32 / kGroups;
    pipeline<kCount>(
        [&](int i, Products& p) {
          p.ask_values(digits.planes, values.from((group * kCount + i) * 32));
        },
        [&](int i, const Products& p) {
#pragma unroll
          for (int e = 0; e < 16; ++e) {
            float& sum = o[(group * kCount + i) * 4 + e / 4][e % 4];
            sum = __fmaf_rn(p.sum(e), unit[e / 2 % 2], sum);
          }
        });
  }
};

}  // namespace kvx::gpu::fused
