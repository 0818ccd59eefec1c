// The kernels of fused attention. A block takes up to kBlockQueries queries of one KV head through
// one segment or span of rows, or through all. Warps take whole segments, or single tiles, of those
// that all queries read alike and sealed; the tiles behind those are computed by the block
// together; then parts are folded in ascending order.
#pragma once

#include "gpu/common/shared_memory.cuh"
#include "gpu/common/successor.cuh"
#include "gpu/fused/cluster.cuh"
#include "gpu/fused/plain_tile.cuh"
#include "gpu/fused/segment_warp.cuh"

namespace kvx::gpu::fused {

// Blocks that share a processor.
template <int kGroups>
inline constexpr int kResident = kGroups == 1 ? 2 : 1;

// kDim 0: any head dim, widths and groups, without the fast path; kGroups is not looked at.
// blockIdx.x: query tile and, unless the block takes all rows, part of the rows; y: KV head; z:
// span of the pass. Codes that were sealed before the pass, spans and pages are read before the
// predecessor's end.
template <int kDim, int kQueries, int kGroups>
__global__ void __launch_bounds__(kThreads, kResident<kGroups>)
    fused_kernel(const __grid_constant__ KernelArgs args, const __grid_constant__ SharedPlan plan) {
  std::byte* const shared = dynamic_shared<std::byte>();
  Limits& limits = shared_variable<Limits>();

  const int block = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int span_index = static_cast<int>(blockIdx.z);
  const int query_tile = args.parts > 1 ? block / args.parts : block;
  const int part = args.parts > 1 ? block - query_tile * args.parts : 0;
  const attention::QueryTile tile(args.attend, span_index, head, query_tile * kQueries, kQueries);
  const int part_tiles = args.part_rows / kTileRows;
  const int first_tile = part * part_tiles;
  if (tile.count <= 0 || tile.span.exact || first_tile * kTileRows > tile.newest) {
    wait_for_predecessors();
    return;
  }
  if (threadIdx.x < kQueries) limits.set(static_cast<int>(threadIdx.x), args.attend, tile);
  const PartShape& shape = args.part;
  const Parts parts{shared + plan.parts, plan.part_stride};
  float* const total = reinterpret_cast<float*>(shared + plan.total);
  float* const result = reinterpret_cast<float*>(shared + plan.result);
  auto* const units = reinterpret_cast<TileUnits*>(shared + plan.units);
  clear(shared + plan.total, shared + plan.queries);
  __syncthreads();
  // Shares of the rows from a tile on, a warp's each: segments, or tiles of one segment.
  const bool by_tile = args.part_rows == kSegmentRows;
  const int uniform = kDim == 0 ? 0 : uniform_tiles(limits, tile.count);
  // Leaves the result of the rows from a tile on.
  const auto take_rows = [&](int from, auto&& take_shares) {
    take_shares(from);
    __syncthreads();
    if (by_tile) fold_tiles<kQueries>(result, parts, shape, units);
    const int end = min(tile.newest / kTileRows + 1, from + part_tiles);
#pragma unroll 1
    for (int i = max(uniform, from); i < end; ++i)
      PlainTile(args, tile, limits, i, *reinterpret_cast<PlainMemory*>(shared + plan.ring),
                by_tile ? result : parts.of(i / kSegmentTiles % kSpanSegments), shape.floats())
          .run();
    if (!by_tile) fold_segments<kQueries>(result, parts, shape);
    if (args.parts == 0) fold_span<kQueries>(result, shape, total);
  };
  const int last_tile = args.parts > 0 ? first_tile : tile.newest / kTileRows;
  if constexpr (kDim == 0) {
    wait_for_predecessors();
    let_successor_begin();
    for (int from = first_tile; from <= last_tile; from += part_tiles)
      take_rows(from, [&](int) { clear(parts.first, parts.first + kSpanSegments * parts.stride); });
  } else {
    const int share = by_tile ? 1 : kSegmentTiles;
    SegmentWarp<kDim, kQueries, kGroups> warp(args, plan, tile.span.slot, head, shared);
    const auto tiles_of = [&](int begin) { return min(share, uniform - begin); };
    const int begin = first_tile + warp.number() * share;
    const bool first_any = tiles_of(begin) > 0;
    const bool early =
        (begin + tiles_of(begin)) * kTileRows <= sealed_before(args.attend, tile.span);
    if (first_any && early) warp.prepare(begin, tiles_of(begin));
    wait_for_predecessors();
    let_successor_begin();
    if (first_any && !early) warp.prepare(begin, tiles_of(begin));
    auto& queries = *reinterpret_cast<QueryMemory<kDim, kQueries>*>(shared + plan.queries);
    load_queries(args.attend, limits, queries);
    __syncthreads();
    if (!args.attend.view[0].format.along_tokens) {
      if (threadIdx.x < 32)
        channel_digits<kDim, kQueries>(queries, args.side[0].sets, args.attend.view[0].format.bits,
                                       shared + plan.digits,
                                       reinterpret_cast<KeyFactor*>(shared + plan.factors));
      __syncthreads();
    }
    for (int from = first_tile; from <= last_tile; from += part_tiles)
      take_rows(from, [&](int first) {
        for (int i = warp.number(); i < kSpanSegments; i += plan.warp_count) {
          const int at = first + i * share, count = tiles_of(at);
          SegmentSums<kDim> sums;
          if (count > 0) {
            if (at != begin) warp.prepare(at, count);
            warp.run(count, limits.visible[0] - at * kTileRows, sums,
                     by_tile ? units + i * kQueries : nullptr);
          }
          __syncwarp();
          warp.store(sums, parts.of(i));
        }
      });
  }

  if (args.parts == 0) return give_out(args, limits, tile.count, total);
  const int parts_there = tile.newest / args.part_rows + 1;
  if (args.cluster) return give_out_of_cluster(args, limits, tile.count, result, part, parts_there);
  for (int at = static_cast<int>(threadIdx.x); at < tile.count * shape.floats();
       at += static_cast<int>(blockDim.x)) {
    const int query = at / shape.floats();
    scratch_part(args, span_index, query_tile, head, query, part)[at - query * shape.floats()] =
        result[at];
  }
}

}  // namespace kvx::gpu::fused
