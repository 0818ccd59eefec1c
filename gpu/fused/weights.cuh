// Weights of a tile's rows by a warp (fixed.md, steps 3 to 7). A lane has rows 4 lane .. 4 lane + 3
// of every query.
#pragma once

#include "gpu/fused/keys.cuh"

namespace kvx::gpu::fused {

// Results for the query of a lane, lane mod 4 (one query: that), of a tile.
template <int kGroups>
struct TileWeights {
  int m, l;
  int unit[kGroups];  // eu - 15: what a product of digits and codes is worth
  // Of V group lane / 4, where there is one.
  int zeros, zero_unit;  // zi, ez - 18
};

// Values of a tile as their weights need them: scale and zero [row][kGroups].
struct ValueScales {
  const std::byte *scale, *zero;  // without zeros the scales stand in
  float zero_factor;
};

// Stores four weights' digits as the lane's word of both digit columns of a query: word 2 k + h of
// quarter t are rows 32 k + 16 h + 4 t ..
__device__ __forceinline__ void store_weight_digits(std::byte* digits, int query,
                                                    const float (&u)[4], uint32_t exponent) {
  const int lane = lane_of_warp();
  const float factor = weight_factor(exponent);
  uint32_t d[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(__fmaf_rn(u[i], factor, 8388608.0f));
  const uint32_t a = __byte_perm(d[0], d[1], 0x5140), b = __byte_perm(d[2], d[3], 0x5140);
  std::byte* to = digits + 2 * query * kDigitPitch + lane % 4 * 32 + lane / 4 * 4;
  *reinterpret_cast<uint32_t*>(to) = __byte_perm(a, b, 0x5410);
  *reinterpret_cast<uint32_t*>(to + kDigitPitch) = __byte_perm(a, b, 0x7632);
}

// The end of step 3, where scores may leave the clamp's range.
template <int kQueries>
__device__ __forceinline__ void clamp_scores(float* scores) {
  const int lane = lane_of_warp();
  for (int h = 0; h < kQueries; ++h) {
    float4& x = reinterpret_cast<float4*>(scores + h * kScorePitch)[lane];
    x = make_float4(clamp_score(x.x), clamp_score(x.y), clamp_score(x.z), clamp_score(x.w));
  }
}

// The score of a row that is not seen: its weight is nothing in l, nor times a scale and zero of 0.
inline constexpr float kUnseen = -2.0f * kScoreBound;

// Of a tile whose first `visible` rows alone are seen. A lane changes what it reads in weigh().
template <int kQueries>
__device__ __forceinline__ void hide_rows(float* scores, int visible) {
  const int lane = lane_of_warp(), seen = visible - 4 * lane;
#pragma unroll 1
  for (int i = max(seen, 0); i < 4; ++i)
    for (int h = 0; h < kQueries; ++h) scores[h * kScorePitch + 4 * lane + i] = kUnseen;
}

// Steps 4 to 7. `visible` of the tile's rows are seen, by all queries; the scores of others are
// hidden. Digits: [V group][digit_bytes].
template <int kQueries, int kGroups>
__device__ __forceinline__ TileWeights<kGroups> weigh(const float* scores, int visible,
                                                      const ValueScales& values,
                                                      std::byte* digits) {
  const int lane = lane_of_warp(), query = lane % 4 % kQueries;
  float scale[4 * kGroups], zero[4 * kGroups];  // [row][group]
  load_halves(values.scale + 8 * kGroups * lane, scale);
  load_halves(values.zero + 8 * kGroups * lane, zero);
#pragma unroll
  for (int i = 0; i < 4 * kGroups; ++i) zero[i] = __fmul_rn(zero[i], values.zero_factor);
  if (visible < kTileRows) {
#pragma unroll
    for (int i = 0; i < 4 * kGroups; ++i)
      if (4 * lane + i / kGroups >= visible) scale[i] = zero[i] = 0.0f;
  }
  float p[kQueries][4];
  int n[kQueries][4], m[kQueries], l[kQueries];
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    const float4 x = reinterpret_cast<const float4*>(scores + h * kScorePitch)[lane];
    p[h][0] = x.x, p[h][1] = x.y, p[h][2] = x.z, p[h][3] = x.w;
  }
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Exponential e = exponential(p[h][i]);
      n[h][i] = e.n, p[h][i] = e.p;
    }
    m[h] = __reduce_max_sync(~0u, max(max(n[h][0], n[h][1]), max(n[h][2], n[h][3])));
  }
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    uint32_t mass = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      p[h][i] = weight({n[h][i], p[h][i]}, m[h]);
      mass += __float_as_uint(__fadd_rn(p[h][i], kMagic));
    }
    l[h] =
        static_cast<int>(__reduce_add_sync(~0u, mass) - (static_cast<uint32_t>(kMagicBits) << 7));
  }

  TileWeights<kGroups> result;
  result.m = pick(m, query);
  result.l = pick(l, query);
  result.zeros = result.zero_unit = 0;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    float s[4], z[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] = scale[i * kGroups + group], z[i] = zero[i * kGroups + group];
    const uint32_t ez = zero_exponent(__reduce_max_sync(~0u, greatest(z)));
    float u[kQueries][4], b[kQueries];
    uint32_t most[kQueries];
#pragma unroll
    for (int h = 0; h < kQueries; ++h) {
      b[h] = 0.0f;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        u[h][i] = __fmul_rn(p[h][i], s[i]);
        b[h] = __fmaf_rn(p[h][i], z[i], b[h]);
      }
      most[h] = __reduce_max_sync(~0u, greatest(u[h]));
    }
    int eu[kQueries], zi[kQueries];
#pragma unroll
    for (int h = 0; h < kQueries; ++h) {
      const uint32_t exponent = weight_exponent(most[h]);
      store_weight_digits(digits + group * digit_bytes(kQueries), h, u[h], exponent);
      eu[h] = exponent_of(exponent) - (21 + 15);
      zi[h] = static_cast<int>(
          __reduce_add_sync(~0u, __float_as_uint(__fmaf_rn(b[h], zero_factor(ez), kMagic))) -
          (static_cast<uint32_t>(kMagicBits) << 5));
    }
    result.unit[group] = pick(eu, query);
    if (lane / 4 == group) {
      result.zeros = pick(zi, query);
      result.zero_unit = exponent_of(ez) - 18;
    }
  }
  return result;
}

}  // namespace kvx::gpu::fused
