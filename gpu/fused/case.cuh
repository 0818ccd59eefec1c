// What a block of fused attention works on: up to kBlockQueries queries of one KV head.
#pragma once

#include "gpu/cache/attend_rows.cuh"
#include "gpu/fused/attend.h"
#include "gpu/fused/part.cuh"

namespace kvx::gpu::fused {

inline constexpr int kThreads = 256;

// Rows of a tile that are fetched at once: of codes 4096 bytes at most.
KVX_HD constexpr int stage_rows(int bits, int dim) {
  int rows = kTileRows;
  while (rows * dim * bits > 8 * 4096) rows /= 2;
  return rows;
}

// Where the tiles of one side lie: bytes of codes and of scales (zeros alike) from page to page, KV
// head to KV head and tile to tile. A tile is fetched in stages; a stage in shared memory is codes,
// then scales, then zeros.
struct SideGeometry {
  int64_t code_page = 0, meta_page = 0;
  int32_t code_head = 0, meta_head = 0;
  int32_t code_tile = 0, meta_tile = 0;
  int32_t meta_tiles = 1;  // tiles that share scales
  int32_t sets = 1;        // of digits: K groups of a tile or a row
  int32_t stages = 1;      // of a tile, of `rows` rows
  int32_t rows = kTileRows;
  int32_t code_stage = 0;
  // With the first stage, or with every one; zero_stage 0: no zeros.
  int32_t meta_stage = 0, zero_stage = 0;
  bool meta_each = false;

  SideGeometry() = default;
  SideGeometry(const SideFormat& f, const CacheShape& s, bool is_k)
      : code_head(static_cast<int32_t>(s.page_tokens * f.row_bytes(s.head_dim))),
        meta_head(static_cast<int32_t>(page_groups(f, s) * 2)),
        code_tile(static_cast<int32_t>(kTileRows * f.row_bytes(s.head_dim))),
        meta_tiles(f.along_tokens && f.group > kTileRows ? f.group / kTileRows : 1),
        sets(!f.along_tokens ? s.head_dim / f.group
                             : (f.group < kTileRows ? kTileRows / f.group : 1)) {
    code_page = int64_t{s.kv_heads} * code_head;
    meta_page = int64_t{s.kv_heads} * meta_head;
    meta_tile = 2 * sets * (f.along_tokens ? s.head_dim : kTileRows);
    rows = stage_rows(f.bits, s.head_dim);
    stages = kTileRows / rows;
    code_stage = code_tile / stages;
    meta_each = is_k && !f.along_tokens;
    meta_stage = meta_each ? meta_tile / stages : meta_tile;
    zero_stage = f.zero_bytes == 0 ? 0 : meta_stage;
  }
  int32_t stage_bytes() const { return code_stage + meta_stage + zero_stage; }
};

struct KernelArgs {
  AttendArgs attend;
  AffineScheme scheme;
  float scale = 0.0f;     // c
  int32_t queries = 1;    // of a block: kBlockQueries, or 1
  int32_t tiles = 1;      // of so many queries in a span of the pass
  int32_t parts = 1;      // of a query; 0: the block takes all rows
  bool cluster = false;   // the blocks that share a query's rows fold its parts themselves
  int32_t part_rows = 0;  // kSegmentRows or kSpanRows
  PartShape part;
  SideGeometry side[2];  // by Side; of kernels with a fast path
};

// How far the queries of a block see and read sealed. A query that the tile lacks is its last one
// once more, and is not given out.
struct Limits {
  int64_t at[kBlockQueries];         // elements to its q and out
  int32_t visible[kBlockQueries];    // rows 0 .. visible - 1
  int32_t sealed[2][kBlockQueries];  // by Side, of those

  __device__ void set(int query, const AttendArgs& args, const attention::QueryTile& tile) {
    const int i = min(query, tile.count - 1);
    const int32_t position = tile.position(i);
    at[query] = tile.at(args, i);
    visible[query] = position + 1;
    for (int side = 0; side < 2; ++side)
      sealed[side][query] =
          min(attention::boundary(args.view[side], tile.span, args.pass.reads, position),
              visible[query]);
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

// Rows of a span that were sealed on both sides before the pass.
__device__ inline int32_t sealed_before(const AttendArgs& args, const PassSpan& span) {
  return min(args.view[0].format.rule.sealed(span.first),
             args.view[1].format.rule.sealed(span.first));
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
