// Attention of many queries: a block takes 64 queries of one KV head and walks the segments. What
// lies between the two products of a segment stays in the warp.
#pragma once

#include "gpu/cache/attend_tile.cuh"

namespace kvx::gpu::attention {

// kDim: the head dim, or 0 for any up to kMaxDim.
template <class Codec, int kDim>
__global__ void __launch_bounds__(kThreads, kDim == 0 ? 1 : 2)
    walk_kernel(const __grid_constant__ Codec k_codec, const __grid_constant__ Codec v_codec,
                const __grid_constant__ AttendArgs args, float scale) {
  constexpr int kPitch = kDim == 0 ? kMaxDim : kDim;
  constexpr int kQueries = Held<kPitch>::kQueries, kChannels = Held<kPitch>::kChannels;
  constexpr int kStageRows = kStageFloats / kPitch;
  extern __shared__ float4 shared[];
  __shared__ QueryLimits<kTileQueries> limits;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const Held<kPitch> held(lane);
  float* stage = reinterpret_cast<float*>(shared + kWalkWeights);
  float* queries = stage + kStageFloats;  // [channel][64]
  const int dim = kDim == 0 ? args.view[0].shape.head_dim : kDim;
  const int kv_heads = args.view[0].shape.kv_heads;

  // The tiles with the most rows first.
  const int lists = kv_heads * args.pass.span_count;
  const int list = static_cast<int>(blockIdx.x) % lists;
  const int age = static_cast<int>(blockIdx.x) / lists;
  const int span_index = list / kv_heads;
  const int in_span = args.pass.spans[span_index].count * (args.q_heads / kv_heads);
  const int tile_index = (in_span + kTileQueries - 1) / kTileQueries - 1 - age;
  if (tile_index < 0) return;
  const QueryTile tile(args, span_index, list % kv_heads, tile_index * kTileQueries, kTileQueries);

  if (thread < kTileQueries) limits.set(thread, args, tile);
  {
    const int i = thread % kTileQueries;
    const float* q = args.q + (i < tile.count ? tile.at(args, i) : 0);
    for (int c = thread / kTileQueries * 4; c < dim; c += kThreads / kTileQueries * 4) {
      float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (i < tile.count) x = *reinterpret_cast<const float4*>(q + c);
      queries[c * kTileQueries + i] = x.x;
      queries[(c + 1) * kTileQueries + i] = x.y;
      queries[(c + 2) * kTileQueries + i] = x.z;
      queries[(c + 3) * kTileQueries + i] = x.w;
    }
  }
  __syncthreads();
  const float4* warp_queries = reinterpret_cast<const float4*>(queries) + warp * 2;
  const int32_t* positions = limits.position + warp * kWarpQueries;
  const int32_t* k_bounds = limits.boundary[0] + warp * kWarpQueries;
  const int32_t* v_bounds = limits.boundary[1] + warp * kWarpQueries;

  // Lane j has M, L and the place of query j / 4. O of all eight lies in `out`: there is no room
  // for it beside the scores.
  float top = kMinusInfinity, mass = 0.0f;
  const int32_t place = tile.place(args, warp * kWarpQueries + lane / 4);
  const TileReads k_reads(args, Side::kK, tile), v_reads(args, Side::kV, tile);

  for (int32_t base = 0; base <= tile.newest; base += kSegment) {
    const int rows = min(kSegment, tile.newest + 1 - base);
    float a, b;  // of step 6
    {
      const TileReads reads = k_reads.in_segment(base, rows);
      const Segment<Codec> k(k_codec, args.view[0], args.k, tile, base, reads.sealed > 0);
      Scores s;
      if (reads.sealed > 0) score_rows(k, true, 0, reads.sealed, dim, stage, warp_queries, s);
      if (reads.exact < rows) {
        // Kept where the weights will be; each lane reads its own.
        if (reads.sealed > 0) store_weights(shared, warp, lane, s);
        score_rows(k, false, reads.exact, rows, dim, stage, warp_queries, s);
        if (reads.sealed > 0) {
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            const int row = base + score_row(lane, j), at = weight_at(warp, j / 4 * 32 + lane);
            const float4 x = at_byte(shared, at ^ half_row(j % 4, 0));
            const float4 y = at_byte(shared, at ^ half_row(j % 4, 1));
            const float kept[8] = {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 8; ++i)
              if (row < k_bounds[i]) s[i][j] = kept[i];
          }
        }
      }

      float reduced[kWarpQueries];
#pragma unroll
      for (int i = 0; i < kWarpQueries; ++i) {
        float greatest = kMinusInfinity;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          s[i][j] = __fmul_rn(__fadd_rn(s[i][j], 0.0f), scale);
          if (base + score_row(lane, j) <= positions[i]) greatest = max_nan(greatest, s[i][j]);
        }
        reduced[i] = greatest;
      }
      const float m = ceilf(reduce8(reduced, MaxOf()));
#pragma unroll
      for (int i = 0; i < kWarpQueries; ++i) {
        const float mi = __shfl_sync(~0u, m, i * 4);
#pragma unroll
        for (int j = 0; j < 8; ++j)
          s[i][j] = exp2_ieee(base + score_row(lane, j) <= positions[i] ? __fsub_rn(s[i][j], mi)
                                                                        : kMinusInfinity);
      }
      store_weights(shared, warp, lane, s);

      // Lane 4 * lane + j of the sum's 128, then h = 64 .. 4 over lanes, 2 and 1 over j.
      float part[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int i = 0; i < kWarpQueries; ++i) reduced[i] = __fadd_rn(s[i][j], s[i][j + 4]);
        part[j] = reduce8(reduced, SumOf());
      }
      const float l = __fadd_rn(__fadd_rn(part[0], part[2]), __fadd_rn(part[1], part[3]));

      const float next = max_nan(top, m);
      a = exp2_ieee(__fsub_rn(top, next)), b = exp2_ieee(__fsub_rn(m, next));
      if (base <= positions[lane / 4]) {
        top = next;
        mass = __fmaf_rn(l, b, __fmul_rn(mass, a));
      }
    }

    float o[kQueries][kChannels] = {};
    const TileReads reads = v_reads.in_segment(base, rows);
    const Segment<Codec> v(v_codec, args.view[1], args.v, tile, base, reads.sealed > 0);
    for (int version = 0; version < 2; ++version) {
      const bool sealed = version == 0;
      const int first = sealed ? 0 : reads.exact, last = sealed ? reads.sealed : rows;
      if (first >= last) continue;
      for (int from = first / kStageRows * kStageRows; from < last; from += kStageRows) {
        const int low = max(from, first), high = min(from + kStageRows, last);
        const int begin = low / 4 * 4, end = (high + 3) / 4 * 4;
        const bool tainted = stage_values(v, sealed, begin, end, low, high, dim, kPitch, stage);
        const bool mixed = sealed ? high > reads.exact : low < reads.sealed;
        int from_row[kQueries], to_row[kQueries];
        if (!tainted && !mixed) {
          add_values<false>(shared, warp, held, stage, begin / 4, end / 4, from_row, to_row, o);
          continue;
        }
#pragma unroll
        for (int i = 0; i < kQueries; ++i) {
          const int32_t bound = v_bounds[held.query + i], end_row = positions[held.query + i] + 1;
          from_row[i] = sealed ? 0 : bound - base;
          to_row[i] = (sealed ? min(bound, end_row) : end_row) - base;
        }
        add_values<true>(shared, warp, held, stage, begin / 4, end / 4, from_row, to_row, o);
      }
    }

    const bool last_segment = base + kSegment > tile.newest;
#pragma unroll
    for (int i = 0; i < kQueries; ++i) {
      const int query = held.query + i;
      const float ai = __shfl_sync(~0u, a, query * 4), bi = __shfl_sync(~0u, b, query * 4);
      const float li = __shfl_sync(~0u, mass, query * 4);
      float* to = args.out + int64_t{__shfl_sync(~0u, place, query * 4)} * dim;
      if (positions[query] < 0) continue;
      float out[kChannels] = {};
      if (base > 0) load_channels(to, held.channel, dim, out);
#pragma unroll
      for (int e = 0; e < kChannels; ++e) {
        if (base <= positions[query]) out[e] = __fmaf_rn(o[i][e], bi, __fmul_rn(out[e], ai));
        if (last_segment) out[e] = __fadd_rn(__fdiv_rn(out[e], li), 0.0f);
      }
      store_channels(to, held.channel, dim, out);
    }
  }
}

}  // namespace kvx::gpu::attention
