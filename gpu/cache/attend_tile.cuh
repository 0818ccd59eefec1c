// The two matrix products of attention for 64 queries and a segment, as register tiles fed through
// shared memory. A warp owns 8 queries throughout.
#pragma once

#include "gpu/cache/attend_rows.cuh"

namespace kvx::gpu::attention {

inline constexpr int kTileQueries = 64;
inline constexpr int kStageChannels = kStageFloats / kSegment;

// Shared memory of a block, in float4: weights of all warps, the stage, queries.
inline constexpr int kWarpWeights = kSegment * kWarpQueries / 4;
inline constexpr int kWalkWeights = kThreads / 32 * kWarpWeights;
constexpr int walk_shared_bytes(int max_dim) {
  return (kWalkWeights + kStageFloats / 4 + max_dim * kTileQueries / 4) * 16;
}

// Weights of a warp's 8 queries lie as [256 rows][8 queries]; within four rows (128 bytes) the
// halves of rows are permuted, so that lanes that write rows 4 apart hit different banks. Halves
// are addressed in bytes from the start of shared memory: that of row r of the four, queries 4 h ..
// , is at weight_at(..) ^ half_row(r, h).
__device__ inline int weight_at(int warp, int quad) {
  return (warp * kWarpWeights + quad * 8 + quad % 8) * 16;
}
__device__ constexpr int half_row(int row, int half) { return (row * 2 + half) * 16; }
__device__ inline float4& at_byte(float4* shared, int at) {
  return *reinterpret_cast<float4*>(reinterpret_cast<char*>(shared) + at);
}

// Of each of the warp's 8 queries, the scores of rows 4 * lane + 0..3 and 128 + 4 * lane + 0..3.
using Scores = float[kWarpQueries][8];

// Row of score j.
__device__ inline int score_row(int lane, int j) { return (j & 4) * 32 + lane * 4 + (j & 3); }

// Carries the scores on over `channels` channels, a multiple of 4. k: the lane's in [channel][256
// rows], q: the warp's in [channel][64 queries].
template <bool kLow, bool kHigh>
__device__ __forceinline__ void score(const float4* k, const float4* q, int channels, Scores& s) {
  for (int c0 = 0; c0 < channels; c0 += 4) {
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const float4 q0 = q[u * (kTileQueries / 4)], q1 = q[u * (kTileQueries / 4) + 1];
      const float qs[8] = {q0.x, q0.y, q0.z, q0.w, q1.x, q1.y, q1.z, q1.w};
      if constexpr (kLow) {
        const float4 x = k[u * (kSegment / 4)];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          s[i][0] = __fmaf_rn(qs[i], x.x, s[i][0]);
          s[i][1] = __fmaf_rn(qs[i], x.y, s[i][1]);
          s[i][2] = __fmaf_rn(qs[i], x.z, s[i][2]);
          s[i][3] = __fmaf_rn(qs[i], x.w, s[i][3]);
        }
      }
      if constexpr (kHigh) {
        const float4 x = k[u * (kSegment / 4) + 32];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          s[i][4] = __fmaf_rn(qs[i], x.x, s[i][4]);
          s[i][5] = __fmaf_rn(qs[i], x.y, s[i][5]);
          s[i][6] = __fmaf_rn(qs[i], x.z, s[i][6]);
          s[i][7] = __fmaf_rn(qs[i], x.w, s[i][7]);
        }
      }
    }
    k += kSegment;
    q += kTileQueries;
  }
}

__device__ __forceinline__ void store_weights(float4* shared, int warp, int lane, const Scores& s) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int at = weight_at(warp, j / 4 * 32 + lane);
    at_byte(shared, at ^ half_row(j % 4, 0)) = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
    at_byte(shared, at ^ half_row(j % 4, 1)) = make_float4(s[4][j], s[5][j], s[6][j], s[7][j]);
  }
}

// dot(q, k) of rows [from, to) of one version; other scores are unspecified.
template <class Codec>
__device__ void score_rows(const Segment<Codec>& k, bool sealed, int from, int to, int dim,
                           float* stage, const float4* q, Scores& s) {
  const int row = static_cast<int>(threadIdx.x), lane = row % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) s[i][j] = 0.0f;
  for (int c0 = 0; c0 < dim; c0 += kStageChannels) {
    const int channels = min(kStageChannels, dim - c0);
    __syncthreads();
    if (row >= from && row < to) {
      for (int c = 0; c < channels; c += 8) {
        float x[8];
        k.load8(sealed, row, c0 + c, x);
#pragma unroll
        for (int e = 0; e < 8; ++e) stage[(c + e) * kSegment + row] = x[e];
      }
    }
    __syncthreads();
    const float4* k4 = reinterpret_cast<const float4*>(stage) + lane;
    const float4* q4 = q + c0 * (kTileQueries / 4);
    if (to <= kSegment / 2)
      score<true, false>(k4, q4, channels, s);
    else if (from >= kSegment / 2)
      score<false, true>(k4, q4, channels, s);
    else
      score<true, true>(k4, q4, channels, s);
  }
}

// How a warp holds 8 x kPitch outputs: a lane has kQueries queries from `query` on, of each groups
// of four channels side by side, `channel` + 128 g.
template <int kPitch>
struct Held {
  static constexpr int kQueries = kPitch == 64 ? 4 : 8;
  static constexpr int kChannels = kPitch * kWarpQueries / kQueries / 32;
  int query, channel;

  __device__ explicit Held(int lane)
      : query(kQueries == 4 ? lane / 16 * 4 : 0),
        channel(kQueries == 4 ? lane % 16 * 4 : lane * 4) {}
};

// Channels from `dim` on are not there.
template <int kChannels>
__device__ __forceinline__ void load_channels(const float* row, int channel, int dim,
                                              float (&x)[kChannels]) {
#pragma unroll
  for (int e = 0; e < kChannels; e += 4) {
    if (channel + e * 32 >= dim) continue;
    const float4 v = *reinterpret_cast<const float4*>(row + channel + e * 32);
    x[e] = v.x, x[e + 1] = v.y, x[e + 2] = v.z, x[e + 3] = v.w;
  }
}
template <int kChannels>
__device__ __forceinline__ void store_channels(float* row, int channel, int dim,
                                               const float (&x)[kChannels]) {
#pragma unroll
  for (int e = 0; e < kChannels; e += 4)
    if (channel + e * 32 < dim)
      *reinterpret_cast<float4*>(row + channel + e * 32) =
          make_float4(x[e], x[e + 1], x[e + 2], x[e + 3]);
}

// Carries o on over rows [4 * quad, 4 * quad_end); v: the first of them. kChecked: query i takes
// rows [first[i], last[i]) only.
template <bool kChecked, int kPitch, int kQueries = Held<kPitch>::kQueries,
          int kChannels = Held<kPitch>::kChannels>
__device__ __forceinline__ void add_values(float4* shared, int warp, const Held<kPitch>& held,
                                           const float* v, int quad, int quad_end,
                                           const int (&first)[kQueries],
                                           const int (&last)[kQueries],
                                           float (&o)[kQueries][kChannels]) {
  for (; quad < quad_end; ++quad) {
    const int at = weight_at(warp, quad) ^ half_row(0, held.query / 4);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float p[kQueries];
#pragma unroll
      for (int i = 0; i < kQueries; i += 4) {
        const float4 w = at_byte(shared, at ^ half_row(r, i / 4));
        p[i] = w.x, p[i + 1] = w.y, p[i + 2] = w.z, p[i + 3] = w.w;
      }
      float x[kChannels];
      load_channels(v, held.channel, kPitch, x);
      v += kPitch;
#pragma unroll
      for (int i = 0; i < kQueries; ++i) {
        if constexpr (kChecked)
          if (quad * 4 + r < first[i] || quad * 4 + r >= last[i]) continue;
#pragma unroll
        for (int e = 0; e < kChannels; ++e) o[i][e] = __fmaf_rn(p[i], x[e], o[i][e]);
      }
    }
  }
}

}  // namespace kvx::gpu::attention
