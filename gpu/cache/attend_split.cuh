// Attention of few queries: a block computes (m, l, o) of one segment for 8 queries of one KV head;
// the partials are folded afterwards (attend.h).
#pragma once

#include "gpu/cache/attend.h"
#include "gpu/cache/attend_rows.cuh"

namespace kvx::gpu::attention {

// kDim: the head dim, or 0 for any up to kMaxDim.
template <class Codec, int kDim>
__global__ void __launch_bounds__(kThreads, 2)
    split_kernel(const __grid_constant__ Codec k_codec, const __grid_constant__ Codec v_codec,
                 const __grid_constant__ AttendArgs args, float scale, int tiles) {
  constexpr int kPitch = kDim == 0 ? kMaxDim : kDim;
  constexpr int kHeld = kWarpQueries * kPitch / kThreads;  // queries of a thread, one channel each
  constexpr int kStageRows = kStageFloats / kPitch;
  __shared__ float4 stage4[kStageFloats / 4];
  __shared__ float4 queries[kPitch][2];    // [channel][8 queries]
  __shared__ float4 weights[kSegment][2];  // [row][8 queries]
  __shared__ float warp_max[kThreads / 32][kWarpQueries];
  __shared__ QueryLimits<kWarpQueries> limits;
  float* stage = reinterpret_cast<float*>(stage4);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int dim = kDim == 0 ? args.view[0].shape.head_dim : kDim;

  const int span_index = static_cast<int>(blockIdx.z);
  const int first_query = static_cast<int>(blockIdx.y) % tiles * kWarpQueries;
  const QueryTile tile(args, span_index, static_cast<int>(blockIdx.y) / tiles, first_query,
                       kWarpQueries);
  const int32_t base = static_cast<int32_t>(blockIdx.x) * kSegment;
  if (tile.count <= 0 || base > tile.newest) return;
  const int rows = min(kSegment, tile.newest + 1 - base);

  if (thread < kWarpQueries) limits.set(thread, args, tile);
  for (int i = warp; i < kWarpQueries; i += kThreads / 32) {
    const float* q = args.q + (i < tile.count ? tile.at(args, i) : 0);
    for (int c = lane; c < dim; c += 32)
      reinterpret_cast<float*>(queries[c])[i] = i < tile.count ? q[c] : 0.0f;
  }
  __syncthreads();

  // Scores: a thread has one row.
  float s[kWarpQueries] = {};
  {
    const int row = thread;
    const TileReads reads = TileReads(args, Side::kK, tile).in_segment(base, rows);
    const Segment<Codec> k(k_codec, args.view[0], args.k, tile, base, reads.sealed > 0);
    for (int version = 0; version < 2; ++version) {
      const bool sealed = version == 0;
      if (sealed ? row >= reads.sealed : row < reads.exact || row >= rows) continue;
      float dot[kWarpQueries] = {};
#pragma unroll 2
      for (int c = 0; c < dim; c += 8) {
        float x[8];
        k.load8(sealed, row, c, x);
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const float4 q0 = queries[c + e][0], q1 = queries[c + e][1];
          const float q[8] = {q0.x, q0.y, q0.z, q0.w, q1.x, q1.y, q1.z, q1.w};
#pragma unroll
          for (int i = 0; i < kWarpQueries; ++i) dot[i] = __fmaf_rn(q[i], x[e], dot[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kWarpQueries; ++i)
        if ((base + row < limits.boundary[0][i]) == sealed)
          s[i] = __fmul_rn(__fadd_rn(dot[i], 0.0f), scale);
    }
  }

  float visible[kWarpQueries];
#pragma unroll
  for (int i = 0; i < kWarpQueries; ++i)
    visible[i] = base + thread <= limits.position[i] ? s[i] : kMinusInfinity;
  const float greatest = reduce8(visible, MaxOf());
  if (lane % 4 == 0) warp_max[warp][lane / 4] = greatest;
  __syncthreads();
  float top[kWarpQueries];
#pragma unroll
  for (int i = 0; i < kWarpQueries; ++i) {
    float m = kMinusInfinity;
#pragma unroll
    for (int w = 0; w < kThreads / 32; ++w) m = max_nan(m, warp_max[w][i]);
    top[i] = ceilf(m);
    s[i] =
        exp2_ieee(base + thread <= limits.position[i] ? __fsub_rn(s[i], top[i]) : kMinusInfinity);
  }
  weights[thread][0] = make_float4(s[0], s[1], s[2], s[3]);
  weights[thread][1] = make_float4(s[4], s[5], s[6], s[7]);
  __syncthreads();

  // l: a warp sums the weights of one query; lane + 32 k of the sum's 128 lanes in part[k].
  const SplitScratch scratch(args.pass, args.q_heads, dim, args.scratch);
  const float* weight = reinterpret_cast<const float*>(weights);
  if (warp < tile.count && base <= limits.position[warp]) {
    float part[4];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      part[k] = __fadd_rn(weight[(lane + 32 * k) * kWarpQueries + warp],
                          weight[(lane + 32 * k + 128) * kWarpQueries + warp]);
    float l = __fadd_rn(__fadd_rn(part[0], part[2]), __fadd_rn(part[1], part[3]));
#pragma unroll
    for (int h = 16; h > 0; h /= 2) l = __fadd_rn(l, __shfl_xor_sync(~0u, l, h));
    float m = top[0];
#pragma unroll
    for (int i = 1; i < kWarpQueries; ++i)
      if (warp == i) m = top[i];
    if (lane == 0) {
      float* to = scratch.sums(span_index, tile.token(warp),
                               tile.head * tile.group + (first_query + warp) % tile.group,
                               static_cast<int>(blockIdx.x));
      to[0] = m, to[1] = l;
    }
  }

  // o: a thread has one channel of kHeld queries.
  const int channel = thread % kPitch, held = thread / kPitch * kHeld;
  float o[kHeld] = {};
  const TileReads reads = TileReads(args, Side::kV, tile).in_segment(base, rows);
  const Segment<Codec> v(v_codec, args.view[1], args.v, tile, base, reads.sealed > 0);
  for (int version = 0; version < 2; ++version) {
    const bool sealed = version == 0;
    const int first = sealed ? 0 : reads.exact, last = sealed ? reads.sealed : rows;
    for (int from = first; from < last; from += kStageRows) {
      const int to = min(from + kStageRows, last);
      const bool tainted = stage_values(v, sealed, from, to, from, to, dim, kPitch, stage);
      const bool mixed = sealed ? to > reads.exact : from < reads.sealed;
      if (!tainted && !mixed) {
#pragma unroll 4
        for (int row = from; row < to; ++row) {
          const float x = stage[(row - from) * kPitch + channel];
#pragma unroll
          for (int i = 0; i < kHeld; ++i)
            o[i] = __fmaf_rn(weight[row * kWarpQueries + held + i], x, o[i]);
        }
        continue;
      }
      for (int row = from; row < to; ++row) {
        const float x = stage[(row - from) * kPitch + channel];
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
          const int32_t token = base + row;
          if (token <= limits.position[held + i] &&
              (token < limits.boundary[1][held + i]) == sealed)
            o[i] = __fmaf_rn(weight[row * kWarpQueries + held + i], x, o[i]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int query = held + i;
    if (channel >= dim || query >= tile.count || base > limits.position[query]) continue;
    scratch.values(span_index, tile.token(query),
                   tile.head * tile.group + (first_query + query) % tile.group,
                   static_cast<int>(blockIdx.x))[channel] = o[i];
  }
}

}  // namespace kvx::gpu::attention
