// The kernels of fused attention. A block takes up to kBlockQueries queries of one KV head through
// one span of rows, or through all. Warps take whole segments of tiles that all queries read alike
// and sealed; the tiles behind those are computed by the block together; then segments are folded
// in ascending order.
#pragma once

#include "gpu/common/successor.cuh"
#include "gpu/fused/plain_tile.cuh"
#include "gpu/fused/plan.h"
#include "gpu/fused/ring.cuh"
#include "gpu/fused/values.cuh"

namespace kvx::gpu::fused {

// Sums of a segment's uniform tiles, by a warp.
template <int kDim, int kQueries, int kGroups>
class SegmentWarp {
 public:
  __device__ SegmentWarp(const KernelArgs& args, const SharedPlan& plan,
                         const attention::QueryTile& tile, std::byte* shared)
      : args_(args),
        tile_(tile),
        queries_(*reinterpret_cast<const QueryMemory<kDim, kQueries>*>(shared + plan.queries)),
        memory_(shared + plan.warps + warp() * plan.warp_bytes),
        scores_(reinterpret_cast<float*>(memory_ + plan.scores)),
        digits_(memory_ + plan.warp_digits),
        factors_(reinterpret_cast<KeyFactor*>(memory_ + plan.warp_factors)),
        spread_(memory_ + plan.spread),
        ring_(args.attend, tile.head,
              shared + plan.ring + warp() * plan.depth * plan.slot_bytes,
              reinterpret_cast<CopyBarrier*>(memory_ + plan.barriers), plan.depth) {
    const SideFormat& k = args.attend.view[0].format;
    keys_.along_tokens = k.along_tokens;
    keys_.sets = k.along_tokens ? max(1, kTileRows / k.group) : kDim / k.group;
    keys_.flip = args.scheme.side[0].flip;
    keys_.zero_factor = args.scheme.side[0].zero_factor;
    keys_.c = args.scale;
    keys_.digits = k.along_tokens ? digits_ : shared + plan.digits;
    keys_.factors =
        k.along_tokens ? factors_ : reinterpret_cast<const KeyFactor*>(shared + plan.factors);
  }

  // Tiles [first, first + count) of the sequence, of which `rows` rows are visible.
  __device__ void run(int first, int count, int rows, SegmentSums<kDim>& sums) {
    ring_.begin(args_.attend.view[0], tile_.span.slot, first, count);
    for (int i = 0; i < count; ++i) {
      score(ring_.take(0));
      ring_.release(0);
      const std::byte* stage = ring_.take(1);
      add(stage, min(rows - i * kTileRows, kTileRows), sums);
      ring_.release(1);
    }
  }

  // Stores the sums as the segment's parts, [query][PartShape].
  __device__ void store(const SegmentSums<kDim>& sums, float* parts) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, query = lane % 4, group = lane / 4;
    if (query >= kQueries) return;
    float* part = parts + query * args_.part.floats();
    const int bits = args_.attend.view[1].format.bits;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) part[channel_of(bits, i, r)] = sums.o[i][r];
    if (group < kGroups) part[kDim + group] = sums.z;
    if (group > 0) return;
    part[args_.part.mass()] = sums.l;
    part[args_.part.maximum()] = __int_as_float(sums.m);
  }

 private:
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }

  __device__ void score(const std::byte* stage) {
    const StageShape& shape = ring_.shape(0);
    const int bits = args_.attend.view[0].format.bits;
    keys_.codes = stage;
    keys_.scale = stage + shape.codes;
    keys_.zero = keys_.scale + (shape.zero == 0 ? 0 : shape.scale);
    if (keys_.along_tokens) {
      for (int i = 0; i < keys_.sets; ++i)
        token_digits<kDim, kQueries>(queries_, keys_.scale + i * kDim * 2,
                                     keys_.zero + i * kDim * 2, keys_.zero_factor, bits, keys_.c,
                                     digits_ + i * digit_bytes(kQueries), factors_ + i * kQueries);
      __syncwarp();
    }
    switch (bits) {
      case 2:
        score_tile<2, kDim, kQueries>(keys_, scores_);
        break;
      case 3:
        score_tile<3, kDim, kQueries>(keys_, scores_);
        break;
      case 4:
        score_tile<4, kDim, kQueries>(keys_, scores_);
        break;
      default:
        score_tile<8, kDim, kQueries>(keys_, scores_);
    }
  }

  __device__ void add(const std::byte* stage, int visible, SegmentSums<kDim>& sums) {
    const StageShape& shape = ring_.shape(1);
    const std::byte* scale = stage + shape.codes;
    const TileWeights<kGroups> w = weigh<kQueries, kGroups>(
        scores_, visible,
        {scale, scale + shape.scale, shape.zero != 0, args_.scheme.side[1].zero_factor}, digits_);
    __syncwarp();
    const uint32_t flip = args_.scheme.side[1].flip;
    switch (args_.attend.view[1].format.bits) {
      case 2:
        add_values<2, kDim, kQueries, kGroups>(stage, flip, digits_, spread_, w, sums);
        break;
      case 3:
        add_values<3, kDim, kQueries, kGroups>(stage, flip, digits_, spread_, w, sums);
        break;
      case 4:
        add_values<4, kDim, kQueries, kGroups>(stage, flip, digits_, spread_, w, sums);
        break;
      default:
        add_values<8, kDim, kQueries, kGroups>(stage, flip, digits_, spread_, w, sums);
    }
  }

  const KernelArgs& args_;
  const attention::QueryTile& tile_;
  const QueryMemory<kDim, kQueries>& queries_;
  std::byte* const memory_;
  float* const scores_;
  std::byte* const digits_;
  KeyFactor* const factors_;
  std::byte* const spread_;
  Ring ring_;
  KeyTile keys_;
};

// The queries of a block, in both orders.
template <int kDim, int kQueries>
__device__ inline void load_queries(const AttendArgs& args, const attention::QueryTile& tile,
                                    QueryMemory<kDim, kQueries>& memory) {
  const int bits = args.view[0].format.bits;
  for (int i = static_cast<int>(threadIdx.x); i < kQueries * kDim;
       i += static_cast<int>(blockDim.x)) {
    const int query = i / kDim, at = i % kDim;
    const float* q = args.q + tile.at(args, min(query, tile.count - 1));
    const WordChannels channels(bits, at / 16);
    memory.natural[query][at] = q[at];
    memory.ordered[query][at] =
        q[at / 4 % 4 * (kDim / 4) + channels.first + at % 4 * channels.step];
  }
}

__device__ inline void clear_parts(float* parts, int count, const PartShape& shape) {
  for (int i = static_cast<int>(threadIdx.x); i < count * shape.floats();
       i += static_cast<int>(blockDim.x))
    parts[i] = i % shape.floats() == shape.maximum() ? __int_as_float(kNoMaximum) : 0.0f;
}

// Step 11 of a span: parts [segment][query] of `stride` floats a segment, folded into the first
// segment's place, by the block.
__device__ inline void fold_segments(float* parts, int segments, int queries, int stride,
                                     const PartShape& shape) {
  int m[kBlockQueries];
#pragma unroll
  for (int query = 0; query < kBlockQueries; ++query) {
    m[query] = kNoMaximum;
    for (int i = 0; i < segments && query < queries; ++i)
      m[query] = max(m[query], __float_as_int(
                                   parts[i * stride + query * shape.floats() + shape.maximum()]));
  }
  for (int i = static_cast<int>(threadIdx.x); i < queries * shape.sums();
       i += static_cast<int>(blockDim.x)) {
    float* part = parts + i / shape.sums() * shape.floats();
    Sum sum;
    fold_parts(part, stride, segments, shape.maximum(), i % shape.sums(), sum);
    part[i % shape.sums()] = sum.x;
  }
  __syncthreads();
#pragma unroll
  for (int query = 0; query < kBlockQueries; ++query)
    if (threadIdx.x == 0 && query < queries)
      parts[query * shape.floats() + shape.maximum()] = __int_as_float(m[query]);
  __syncthreads();
}

// Step 11 of a query: a span's parts [query] behind `total`, by the block.
__device__ inline void fold_span(const float* parts, int queries, const PartShape& shape,
                                 float* total) {
  for (int i = static_cast<int>(threadIdx.x); i < queries * shape.sums();
       i += static_cast<int>(blockDim.x)) {
    const int query = i / shape.sums(), at = i % shape.sums();
    float* to = total + query * shape.floats();
    Sum sum{__float_as_int(to[shape.maximum()]), to[at]};
    fold_parts(parts + query * shape.floats(), 0, 1, shape.maximum(), at, sum);
    to[at] = sum.x;
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < queries) {
    const int at = static_cast<int>(threadIdx.x) * shape.floats() + shape.maximum();
    total[at] =
        __int_as_float(max(__float_as_int(total[at]), __float_as_int(parts[at])));
  }
}

// Step 12: what the parts [query] give, by the block.
__device__ inline void give_out(const KernelArgs& args, const attention::QueryTile& tile,
                                const float* parts) {
  const PartShape& shape = args.part;
  for (int i = static_cast<int>(threadIdx.x); i < tile.count * shape.dim;
       i += static_cast<int>(blockDim.x)) {
    const int query = i / shape.dim, channel = i % shape.dim;
    const float* part = parts + query * shape.floats();
    args.attend.out[tile.at(args.attend, query) + channel] =
        finish(part[channel], part[shape.dim + channel / (shape.dim / shape.groups)],
               part[shape.mass()]);
  }
}

// kDim 0: any head dim, widths and groups, without the fast path; kGroups is not looked at.
// blockIdx: span of rows (args.parts of them; 0: one block takes all), KV head and query tile, span
// of the pass.
template <int kDim, int kQueries, int kGroups>
__global__ void __launch_bounds__(kThreads)
    fused_kernel(const __grid_constant__ KernelArgs args, const __grid_constant__ SharedPlan plan) {
  extern __shared__ float4 shared4[];
  __shared__ Limits limits;
  std::byte* const shared = reinterpret_cast<std::byte*>(shared4);
  wait_for_predecessors();
  let_successor_begin();

  const int query_tile = static_cast<int>(blockIdx.y) % args.tiles;
  const int head = static_cast<int>(blockIdx.y) / args.tiles;
  const int span_index = static_cast<int>(blockIdx.z);
  const attention::QueryTile tile(args.attend, span_index, head, query_tile * kQueries, kQueries);
  const int first_span = static_cast<int>(blockIdx.x);
  if (tile.count <= 0 || first_span * kSpanRows > tile.newest) return;
  if (threadIdx.x < kQueries) limits.set(static_cast<int>(threadIdx.x), args.attend, tile);
  const PartShape& shape = args.part;
  float* const parts = reinterpret_cast<float*>(shared + plan.parts);
  float* const total = reinterpret_cast<float*>(shared + plan.total);
  clear_parts(total, kQueries, shape);
  if constexpr (kDim != 0)
    load_queries(args.attend, tile,
                 *reinterpret_cast<QueryMemory<kDim, kQueries>*>(shared + plan.queries));
  __syncthreads();

  const int segment_floats = kQueries * shape.floats();
  const int last_tile = tile.newest / kTileRows;
  const int last_span = args.parts > 0 ? first_span : tile.newest / kSpanRows;
  const int uniform = kDim == 0 ? 0 : uniform_tiles(limits, tile.count);
  const auto tiles_of_span = [&](int span, auto&& take_segments) {
    constexpr int kSpanTiles = kSegmentTiles * kSpanSegments;
    clear_parts(parts, kSpanSegments * kQueries, shape);
    __syncthreads();
    take_segments(span * kSpanTiles);
    __syncthreads();
    const int end = min(last_tile + 1, (span + 1) * kSpanTiles);
    for (int i = max(uniform, span * kSpanTiles); i < end; ++i) {
      float* const segment = parts + i / kSegmentTiles % kSpanSegments * segment_floats;
      PlainTile(args, tile, limits, i, *reinterpret_cast<PlainMemory*>(shared + plan.ring), segment,
                shape.floats())
          .run();
    }
    // The first segment's place gets the span's sums.
    fold_segments(parts, kSpanSegments, kQueries, segment_floats, shape);
    if (args.parts > 0) return;
    fold_span(parts, kQueries, shape, total);
    __syncthreads();
  };
  if constexpr (kDim == 0) {
    for (int span = first_span; span <= last_span; ++span) tiles_of_span(span, [](int) {});
  } else {
    const SideFormat& k = args.attend.view[0].format;
    if (!k.along_tokens && threadIdx.x < 32)
      channel_digits<kDim, kQueries>(
          *reinterpret_cast<QueryMemory<kDim, kQueries>*>(shared + plan.queries), kDim / k.group,
          k.bits, shared + plan.digits, reinterpret_cast<KeyFactor*>(shared + plan.factors));
    SegmentWarp<kDim, kQueries, kGroups> warp(args, plan, tile, shared);
    for (int span = first_span; span <= last_span; ++span)
      tiles_of_span(span, [&](int first_tile) {
        for (int i = static_cast<int>(threadIdx.x) / 32; i < kSpanSegments; i += plan.warp_count) {
          const int first = first_tile + i * kSegmentTiles;
          const int count = min(kSegmentTiles, uniform - first);
          if (count <= 0) break;
          SegmentSums<kDim> sums;
          warp.run(first, count, limits.visible[0] - first * kTileRows, sums);
          warp.store(sums, parts + i * segment_floats);
        }
      });
  }

  if (args.parts == 0) return give_out(args, tile, total);
  for (int i = static_cast<int>(threadIdx.x); i < tile.count * shape.floats();
       i += static_cast<int>(blockDim.x))
    scratch_part(args, span_index, query_tile, head, i / shape.floats(),
                 first_span)[i % shape.floats()] = parts[i];
}

}  // namespace kvx::gpu::fused
