// What a block of fused attention works on: up to kBlockQueries queries of one KV head.
#pragma once

#include "gpu/cache/attend_rows.cuh"
#include "gpu/fused/attend.h"
#include "gpu/fused/part.cuh"

namespace kvx::gpu::fused {

inline constexpr int kThreads = 256;

struct KernelArgs {
  AttendArgs attend;
  AffineScheme scheme;
  float scale = 0.0f;   // c
  int32_t queries = 1;  // of a block: kBlockQueries, or 1
  int32_t tiles = 1;    // of so many queries in a span of the pass
  int32_t parts = 1;    // of a query in scratch; 0: the block takes all rows
  PartShape part;
};

// How far the queries of a block see and read sealed. A query that the tile lacks is its last one
// once more, and is not given out.
struct Limits {
  int32_t visible[kBlockQueries];    // rows 0 .. visible - 1
  int32_t sealed[2][kBlockQueries];  // by Side, of those

  __device__ void set(int i, const AttendArgs& args, const attention::QueryTile& tile) {
    const int32_t position = tile.position(min(i, tile.count - 1));
    visible[i] = position + 1;
    for (int side = 0; side < 2; ++side)
      sealed[side][i] = min(
          attention::boundary(args.view[side], tile.span, args.pass.reads, position), visible[i]);
  }
};

// Tiles [0, uniform) can be computed by warps: all queries see the same rows of each, all sealed.
__device__ inline int uniform_tiles(const Limits& limits, int queries) {
  int32_t sealed = limits.visible[0], least = limits.visible[0], most = limits.visible[0];
  for (int i = 0; i < queries; ++i) {
    sealed = min(sealed, min(limits.sealed[0][i], limits.sealed[1][i]));
    least = min(least, limits.visible[i]);
    most = max(most, limits.visible[i]);
  }
  return least == most && sealed == least ? (least + kTileRows - 1) / kTileRows
                                          : sealed / kTileRows;
}

// Floats of a part of a query in scratch: [span][query tile][KV head][query of tile][part].
__device__ inline float* scratch_part(const KernelArgs& args, int span, int tile, int head,
                                      int query, int part) {
  const int64_t at =
      ((int64_t{span} * args.tiles + tile) * args.attend.view[0].shape.kv_heads + head) *
          args.queries +
      query;
  return args.attend.scratch + (at * args.parts + part) * args.part.floats();
}

}  // namespace kvx::gpu::fused
