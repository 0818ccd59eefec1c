// What a block of fused attention works on: up to kBlockQueries queries of one KV head.
#pragma once

#include "gpu/cache/attend_rows.cuh"
#include "gpu/fused/attend.h"
#include "gpu/fused/part.cuh"

namespace kvx::gpu::fused {

inline constexpr int kWarps = 8;  // of a block

// Rows of a tile that are fetched at once, a stage: of codes 4096 bytes at most.
KVX_HD constexpr int stage_rows(int bits, int dim) {
  int rows = kTileRows;
  while (rows * dim * bits > 8 * 4096) rows /= 2;
  return rows;
}

KVX_HD constexpr int stage_count(int bits, int dim) { return kTileRows / stage_rows(bits, dim); }
// Of codes.
KVX_HD constexpr int stage_bytes(int bits, int dim) {
  return stage_rows(bits, dim) * dim * bits / 8;
}
inline constexpr int kMostSlots = 4;  // of a warp, for a stage each

// Bytes of the tiles of one side, of codes and of scales (zeros alike). A tile is fetched in
// stages; a stage in shared memory is codes, then scales, then zeros.
struct SideGeometry {
  int32_t meta_tile = 0;
  int32_t meta_tiles = 1;  // tiles that share scales
  int32_t sets = 1;        // of digits: K groups of a tile or a row
  int32_t code_tile = 0, code_stage = 0;
  // With the first stage, or with every one; zero_stage 0: no zeros.
  int32_t meta_stage = 0, zero_stage = 0;
  bool meta_each = false;

  SideGeometry() = default;
  SideGeometry(const SideFormat& f, const CacheShape& s, bool is_k)
      : meta_tiles(f.along_tokens && f.group > kTileRows ? f.group / kTileRows : 1),
        sets(!f.along_tokens ? s.head_dim / f.group
                             : (f.group < kTileRows ? kTileRows / f.group : 1)) {
    meta_tile = 2 * sets * (f.along_tokens ? s.head_dim : kTileRows);
    code_tile = static_cast<int32_t>(kTileRows * f.row_bytes(s.head_dim));
    code_stage = fused::stage_bytes(f.bits, s.head_dim);
    meta_each = is_k && !f.along_tokens;
    meta_stage = meta_each ? meta_tile / stage_count(f.bits, s.head_dim) : meta_tile;
    zero_stage = f.zero_bytes == 0 ? 0 : meta_stage;
  }
  int32_t stage_bytes() const { return code_stage + meta_stage + zero_stage; }
};

struct KernelArgs {
  AttendArgs attend;
  AffineScheme scheme;
  float scale = 0.0f;        // c
  int32_t queries = 1;       // of a block: kBlockQueries, or 1
  int32_t tiles = 1;         // of so many queries in a span of the pass
  int32_t part_rows = 0;     // kSegmentRows or kSpanRows
  int32_t parts = 1;         // of a query; 0: a block takes all rows, part after part
  int32_t side_by_side = 1;  // parts of a block: kSpanRows each where there are two
  bool cluster = false;      // the blocks that share a query's rows fold its parts themselves
  PartShape part;
  SideGeometry side[2];  // by Side; of kernels with a fast path

  // That share the rows of a query.
  KVX_HD int blocks() const { return parts == 0 ? 1 : (parts + side_by_side - 1) / side_by_side; }
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

// So many of the first tiles can be computed by warps: all queries see the same rows of each, all
// sealed.
__device__ inline int alike_tiles(const AttendArgs& args, const attention::QueryTile& tile) {
  const int32_t oldest = tile.position(0);  // sees the fewest rows, and the fewest sealed
  int32_t sealed = oldest + 1;
  for (int side = 0; side < 2; ++side)
    sealed = min(sealed, attention::boundary(args.view[side], tile.span, args.pass.reads, oldest));
  return sealed == tile.newest + 1 ? (sealed + kTileRows - 1) / kTileRows : sealed / kTileRows;
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
