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
        ring_(args, tile.head,
              shared + plan.ring + warp() * plan.depth * plan.slot_bytes,
              reinterpret_cast<CopyBarrier*>(memory_ + plan.barriers), plan.depth) {
    const bool along_tokens = args.attend.view[0].format.along_tokens;
    keys_.sets = args.side[0].sets;
    keys_.flip = args.scheme.side[0].flip;
    keys_.zero_factor = args.scheme.side[0].zero_factor;
    keys_.c = args.scale;
    keys_.digits = along_tokens ? digits_ : shared + plan.digits;
    keys_.factors =
        along_tokens ? factors_ : reinterpret_cast<const KeyFactor*>(shared + plan.factors);
  }

  // Tiles [first, first + count) of the sequence, of which `rows` rows are visible.
  __device__ void run(int first, int count, int rows, SegmentSums<kDim>& sums) {
    ring_.begin(tile_.span.slot, first, count);
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
    const SideGeometry& side = args_.side[0];
    const SideFormat& format = args_.attend.view[0].format;
    keys_.codes = stage;
    keys_.scale = stage + side.code_tile;
    keys_.zero = keys_.scale + side.zero_tile;  // without zeros: the scales
    far_ = !format.along_tokens;
    if (format.along_tokens) {
      for (int i = 0; i < side.sets; ++i)
        far_ |= token_digits<kDim, kQueries>(queries_, keys_.scale + i * kDim * 2,
                                     keys_.zero + i * kDim * 2, keys_.zero_factor, format.bits,
                                     keys_.c, digits_ + i * digit_bytes(kQueries),
                                     factors_ + i * kQueries);
      __syncwarp();
    }
    switch (format.bits) {
      case 2:
        return score_rows<2>(format.along_tokens);
      case 3:
        return score_rows<3>(format.along_tokens);
      case 4:
        return score_rows<4>(format.along_tokens);
      default:
        return score_rows<8>(format.along_tokens);
    }
  }
  template <int kBits>
  __device__ void score_rows(bool along_tokens) {
    if (along_tokens) {
      score_along_tokens<kBits, kDim, kQueries>(keys_, scores_);
    } else {
      score_along_channels<kBits, kDim, kQueries>(keys_, scores_);
    }
  }

  __device__ void add(const std::byte* stage, int visible, SegmentSums<kDim>& sums) {
    const SideGeometry& side = args_.side[1];
    const AffineSide& affine = args_.scheme.side[1];
    const std::byte* scale = stage + side.code_tile;
    const TileWeights<kGroups> w = weigh<kQueries, kGroups>(
        scores_, far_, visible, {scale, scale + side.zero_tile, affine.zero_factor}, digits_);
    __syncwarp();
    switch (args_.attend.view[1].format.bits) {
      case 2:
        return add_values<2, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, w, sums);
      case 3:
        return add_values<3, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, w, sums);
      case 4:
        return add_values<4, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, w, sums);
      default:
        return add_values<8, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, w, sums);
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
  bool far_ = false;  // the tile's scores may leave the clamp's range
};

// The queries of a block, in both orders.
template <int kDim, int kQueries>
__device__ inline void load_queries(const AttendArgs& args, const Limits& limits,
                                    QueryMemory<kDim, kQueries>& memory) {
  const int bits = args.view[0].format.bits;
  for (int i = static_cast<int>(threadIdx.x); i < kQueries * kDim;
       i += static_cast<int>(blockDim.x)) {
    const int query = i / kDim, at = i % kDim;
    const float* q = args.q + limits.at[query];
    const WordChannels channels(bits, at / 16);
    memory.natural[query][at] = q[at];
    memory.ordered[query][at] =
        q[at / 4 % 4 * (kDim / 4) + channels.first + at % 4 * channels.step];
  }
}

// Shared memory of the block from `from` to `to`: parts without a tile.
__device__ inline void clear(std::byte* from, std::byte* to) {
  for (from += 16 * threadIdx.x; from < to; from += 16 * blockDim.x)
    *reinterpret_cast<uint4*>(from) = make_uint4(0, 0, 0, 0);
}

// Step 11 of a span, by the block: parts [segment][query], folded into the first segment's place.
template <int kQueries>
__device__ inline void fold_segments(float* parts, const PartShape& shape) {
  const int stride = kQueries * shape.floats();
  for (int query = 0; query < kQueries; ++query) {
    float* part = parts + query * shape.floats();
    for (int i = static_cast<int>(threadIdx.x); i < shape.sums();
         i += static_cast<int>(blockDim.x)) {
      Sum sum;
      fold_parts(part, stride, kSpanSegments, shape.maximum(), i, sum);
      part[i] = sum.x;
    }
  }
  __syncthreads();
  if (threadIdx.x < kQueries) {
    float* part = parts + static_cast<int>(threadIdx.x) * shape.floats() + shape.maximum();
    int m = kNoMaximum;
    for (int i = 0; i < kSpanSegments; ++i) m = max(m, __float_as_int(part[i * stride]));
    *part = __int_as_float(m);
  }
  __syncthreads();
}

// Step 11 of a query, by the block: a span's parts [query] behind `total`.
template <int kQueries>
__device__ inline void fold_span(const float* parts, const PartShape& shape, float* total) {
  for (int query = 0; query < kQueries; ++query) {
    float* to = total + query * shape.floats();
    for (int i = static_cast<int>(threadIdx.x); i < shape.sums();
         i += static_cast<int>(blockDim.x)) {
      Sum sum{__float_as_int(to[shape.maximum()]), to[i]};
      fold_parts(parts + query * shape.floats(), 0, 1, shape.maximum(), i, sum);
      to[i] = sum.x;
    }
  }
  __syncthreads();
  if (threadIdx.x < kQueries) {
    const int at = static_cast<int>(threadIdx.x) * shape.floats() + shape.maximum();
    total[at] = __int_as_float(max(__float_as_int(total[at]), __float_as_int(parts[at])));
  }
  __syncthreads();
}

// Step 12, by the block: what the parts [query] give.
__device__ inline void give_out(const KernelArgs& args, const Limits& limits, int queries,
                                const float* parts) {
  const PartShape& shape = args.part;
  const int channels = shape.dim / shape.groups;
  for (int query = 0; query < queries; ++query) {
    const float* part = parts + query * shape.floats();
    for (int i = static_cast<int>(threadIdx.x); i < shape.dim; i += static_cast<int>(blockDim.x))
      args.attend.out[limits.at[query] + i] =
          finish(part[i], part[shape.dim + i / channels], part[shape.mass()]);
  }
}

// kDim 0: any head dim, widths and groups, without the fast path; kGroups is not looked at.
// blockIdx.x: query tile and, unless the block takes all rows, span of rows; y: KV head; z: span of
// the pass.
template <int kDim, int kQueries, int kGroups>
__global__ void __launch_bounds__(kThreads, 1)
    fused_kernel(const __grid_constant__ KernelArgs args, const __grid_constant__ SharedPlan plan) {
  extern __shared__ float4 shared4[];
  __shared__ Limits limits;
  std::byte* const shared = reinterpret_cast<std::byte*>(shared4);
  wait_for_predecessors();
  let_successor_begin();

  const int block = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int span_index = static_cast<int>(blockIdx.z);
  const int query_tile = args.parts > 1 ? block / args.parts : block;
  const int first_span = args.parts > 1 ? block - query_tile * args.parts : 0;
  const attention::QueryTile tile(args.attend, span_index, head, query_tile * kQueries, kQueries);
  if (tile.count <= 0 || first_span * kSpanRows > tile.newest) return;
  if (threadIdx.x < kQueries) limits.set(static_cast<int>(threadIdx.x), args.attend, tile);
  const PartShape& shape = args.part;
  float* const parts = reinterpret_cast<float*>(shared + plan.parts);
  float* const total = reinterpret_cast<float*>(shared + plan.total);
  clear(shared + plan.total, shared + plan.queries);
  __syncthreads();
  if constexpr (kDim != 0) {
    auto& queries = *reinterpret_cast<QueryMemory<kDim, kQueries>*>(shared + plan.queries);
    load_queries(args.attend, limits, queries);
    __syncthreads();
    if (!args.attend.view[0].format.along_tokens && threadIdx.x < 32)
      channel_digits<kDim, kQueries>(queries, args.side[0].sets, args.attend.view[0].format.bits,
                                     shared + plan.digits,
                                     reinterpret_cast<KeyFactor*>(shared + plan.factors));
  }

  const int segment_floats = kQueries * shape.floats();
  const int last_tile = tile.newest / kTileRows;
  const int last_span = args.parts > 0 ? first_span : tile.newest / kSpanRows;
  const int uniform = kDim == 0 ? 0 : uniform_tiles(limits, tile.count);
  const auto take_span = [&](int span, auto&& take_segments) {
    constexpr int kSpanTiles = kSegmentTiles * kSpanSegments;
    clear(shared + plan.parts, shared + plan.total);
    __syncthreads();
    take_segments(span * kSpanTiles);
    __syncthreads();
    const int end = min(last_tile + 1, (span + 1) * kSpanTiles);
#pragma unroll 1
    for (int i = max(uniform, span * kSpanTiles); i < end; ++i)
      PlainTile(args, tile, limits, i, *reinterpret_cast<PlainMemory*>(shared + plan.ring),
                parts + i / kSegmentTiles % kSpanSegments * segment_floats, shape.floats())
          .run();
    fold_segments<kQueries>(parts, shape);
    if (args.parts == 0) fold_span<kQueries>(parts, shape, total);
  };
  if constexpr (kDim == 0) {
    for (int span = first_span; span <= last_span; ++span) take_span(span, [](int) {});
  } else {
    SegmentWarp<kDim, kQueries, kGroups> warp(args, plan, tile, shared);
    for (int span = first_span; span <= last_span; ++span)
      take_span(span, [&](int first_tile) {
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

  if (args.parts == 0) return give_out(args, limits, tile.count, total);
  for (int query = 0; query < tile.count; ++query) {
    float* to = scratch_part(args, span_index, query_tile, head, query, first_span);
    for (int i = static_cast<int>(threadIdx.x); i < shape.floats();
         i += static_cast<int>(blockDim.x))
      to[i] = parts[query * shape.floats() + i];
  }
}

}  // namespace kvx::gpu::fused
