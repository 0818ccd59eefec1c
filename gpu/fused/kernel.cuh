// The kernels of fused attention. A block takes up to kBlockQueries queries of one KV head through
// one segment, one span or two of rows, or through all. Warps take whole segments, or single tiles,
// of those that all queries read alike and sealed; the tiles behind those are computed by the block
// together; then parts are folded in ascending order.
#pragma once

#include "gpu/common/shared_memory.cuh"
#include "gpu/common/successor.cuh"
#include "gpu/fused/cluster.cuh"
#include "gpu/fused/plain_tile.cuh"
#include "gpu/fused/segment_warp.cuh"

namespace kvx::gpu::fused {

// kDim 0: any head dim, widths and groups, without the fast path; kGroups is not looked at.
// blockIdx.x: query tile and, unless the block takes all rows, part of the rows; y: KV head; z:
// span of the pass. Codes that were sealed before the pass, spans and pages are read before the
// predecessor's end.
template <int kDim, int kQueries, int kGroups, int kKeyBits, int kValueBits>
__global__ void __launch_bounds__(32 * kWarps, 1)
    fused_kernel(const __grid_constant__ KernelArgs args, const __grid_constant__ SharedPlan plan) {
  std::byte* const shared = dynamic_shared<std::byte>();
  Limits& limits = shared_variable<Limits>();

  const int block = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int span_index = static_cast<int>(blockIdx.z);
  const int blocks = args.blocks();
  const int query_tile = blocks > 1 ? block / blocks : block;
  const int number = blocks > 1 ? block - query_tile * blocks : 0;
  const attention::QueryTile tile(args.attend, span_index, head, query_tile * kQueries, kQueries);
  const int part_tiles = args.part_rows / kTileRows, taken = args.side_by_side * part_tiles;
  const int first_tile = number * taken;
  const int newest = uniform(tile.newest);
  if (uniform(tile.count <= 0 || tile.span.exact) != 0 || first_tile * kTileRows > newest) {
    wait_for_predecessors();
    return;
  }
  const int last_tile = args.parts > 0 ? first_tile : newest / kTileRows;
  const int alike = kDim == 0 ? 0 : uniform(alike_tiles(args.attend, tile));
  // Shares of the rows, a warp's each: segments, or tiles of one segment.
  const bool by_tile = args.part_rows == kSegmentRows;
  const int share = by_tile ? 1 : kSegmentTiles;
  const PartShape shape = kDim == 0 ? args.part : PartShape{kDim, kGroups};
  const Parts parts{shared + plan.parts, plan.part_stride};
  float* const total = reinterpret_cast<float*>(shared + plan.total);
  float* const result = reinterpret_cast<float*>(shared + plan.result);
  auto* const units = reinterpret_cast<TileUnits*>(shared + plan.units);
  auto* const weights = reinterpret_cast<PartWeight*>(shared + plan.weights);
  const auto set_up = [&] {
    if (threadIdx.x < kQueries) limits.set(static_cast<int>(threadIdx.x), args.attend, tile);
    clear(shared + plan.total, shared + plan.queries);
    __syncthreads();
  };
  // Leaves the results of the rows from a tile on.
  const auto take_rows = [&](int from, auto&& take_shares) {
    take_shares(from);
    __syncthreads();
    const int end = min(newest / kTileRows + 1, from + taken);
    const auto take_others = [&](auto&& part_of) {
#pragma unroll 1
      for (int i = max(alike, from); i < end; ++i)
        plain_tile<kKeyBits, kValueBits>(
            args, span_index, head, query_tile * kQueries, kQueries, limits, i,
            *reinterpret_cast<PlainMemory*>(shared + plan.ring), part_of(i), shape.floats());
    };
    if (!by_tile) take_others([&](int i) { return parts.of((i - from) / kSegmentTiles); });
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const auto parts_of = [&](int i) {
      return Parts{parts.first + i * kFolded * parts.stride, parts.stride};
    };
    if (kDim > 0 || !by_tile) {
      if (warp < args.side_by_side)
        weigh_parts<kQueries>(parts_of(warp), shape, by_tile ? units : nullptr,
                              weights + warp * kFolded * kQueries);
      __syncthreads();
      for (int i = 0; i < args.side_by_side; ++i)
        fold_parts_to<kQueries>(result + i * kQueries * shape.floats(), parts_of(i), shape,
                                weights + i * kFolded * kQueries, by_tile);
      __syncthreads();
    }
    if (by_tile) take_others([&](int) { return result; });
    if (args.parts == 0) fold_span<kQueries>(result, shape, total);
  };
  if constexpr (kDim == 0) {
    set_up();
    wait_for_predecessors();
    let_successor_begin();
    for (int from = first_tile; from <= last_tile; from += taken)
      take_rows(from, [&](int) { clear(parts.first, parts.first + kSpanSegments * parts.stride); });
  } else {
    using Warp = SegmentWarp<kDim, kQueries, kGroups, kKeyBits, kValueBits>;
    const TileOrder order(Warp::number(), plan.warp_count, share, first_tile,
                          args.parts > 0 ? min(alike, first_tile + taken) : alike);
    Warp warp(args, plan, tile.span.slot, head, order, shared);
    const bool early = (order[min(order.count, kMostSlots) - 1] + 1) * kTileRows <=
                       uniform(sealed_before(args.attend, tile.span));
    if (early) warp.begin();
    set_up();
    wait_for_predecessors();
    let_successor_begin();
    if (!early) warp.begin();
    auto& queries = *reinterpret_cast<QueryMemory<kDim, kQueries>*>(shared + plan.queries);
    load_queries<kDim, kQueries, kKeyBits>(args.attend, limits, queries);
    __syncthreads();
    if (!args.attend.view[0].format.along_tokens) {
      if (threadIdx.x < 32)
        channel_digits<kDim, kQueries>(queries, args.side[0].sets, kKeyBits, shared + plan.digits,
                                       reinterpret_cast<KeyFactor*>(shared + plan.factors));
      __syncthreads();
    }
    const int shares = args.side_by_side * kSpanSegments;
    for (int from = first_tile; from <= last_tile; from += taken)
      take_rows(from, [&](int first) {
        for (int i = warp.number(); i < shares; i += plan.warp_count) {
          const int at = first + i * share;
          SegmentSums<kDim> sums;
          warp.run(min(share, alike - at), newest + 1 - at * kTileRows, sums,
                   by_tile ? units + i * kQueries : nullptr);
          warp.store(sums, parts.of(i));
        }
      });
  }

  if (args.parts == 0) return give_out(args, shape, limits, tile.count, total);
  const int parts_there = newest / args.part_rows + 1;
  if (args.cluster)
    return give_out_of_cluster<kQueries>(args, shape, limits, tile.count, result, number,
                                         parts_there);
  const int first_part = number * args.side_by_side;
  for (int i = 0; i < min(args.side_by_side, parts_there - first_part); ++i)
    for (int at = static_cast<int>(threadIdx.x); at < tile.count * shape.floats();
         at += static_cast<int>(blockDim.x)) {
      const int query = at / shape.floats();
      scratch_part(args, span_index, query_tile, head, query,
                   first_part + i)[at - query * shape.floats()] =
          result[i * kQueries * shape.floats() + at];
    }
}

}  // namespace kvx::gpu::fused
