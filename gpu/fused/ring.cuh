// The tiles of a segment as a warp reads them: its own ring of slots in shared memory, filled by
// bulk copies. A slot holds a tile's K and V; each is fetched anew as soon as it has been read.
#pragma once

#include "gpu/fused/bulk.cuh"
#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

// Bytes of one side of a tile: codes, then scales, then zeros as they lie in a page.
struct StageShape {
  uint32_t codes = 0, scale = 0, zero = 0;

  KVX_HD StageShape(const SideFormat& f, int dim)
      : codes(static_cast<uint32_t>(kTileRows * f.row_bytes(dim))),
        scale(static_cast<uint32_t>((f.along_tokens
                                         ? (f.group < kTileRows ? kTileRows / f.group : 1) * dim
                                         : kTileRows * (dim / f.group)) *
                                    2)),
        zero(f.zero_bytes == 0 ? 0 : scale) {}
  KVX_HD uint32_t bytes() const { return codes + scale + zero; }
};

// Where the tiles of one side and KV head lie in device memory.
struct TileSource {
  const std::byte *codes, *scale, *zero;  // of page 0
  int64_t code_page, meta_page;           // bytes from page to page
  int32_t row_bytes, group_tokens, group_bytes;

  __device__ TileSource(const SideView& view, int head) {
    const SideFormat& f = view.format;
    const CacheShape& shape = view.shape;
    const int64_t rows = int64_t{head} * shape.page_tokens;
    const int64_t groups = page_groups(f, shape);
    row_bytes = static_cast<int32_t>(f.row_bytes(shape.head_dim));
    code_page = int64_t{shape.kv_heads} * shape.page_tokens * row_bytes;
    meta_page = shape.kv_heads * groups * 2;
    codes = view.codes + rows * row_bytes;
    scale = view.scale + head * groups * 2;
    zero = view.zero + head * groups * 2;
    group_tokens = f.along_tokens ? f.group : 1;
    group_bytes = (f.along_tokens ? shape.head_dim : shape.head_dim / f.group) * 2;
  }
};

class Ring {
 public:
  // `slots` has room for `depth` tiles, `barriers` for 2 depth.
  __device__ Ring(const AttendArgs& args, int head, std::byte* slots, CopyBarrier* barriers,
                  int depth)
      : source_{TileSource(args.view[0], head), TileSource(args.view[1], head)},
        shape_{StageShape(args.view[0].format, args.view[0].shape.head_dim),
               StageShape(args.view[1].format, args.view[1].shape.head_dim)},
        page_tokens_(args.view[0].shape.page_tokens),
        depth_(depth),
        slots_(slots),
        barriers_(barriers),
        policy_(evict_first()) {
    if (elected()) {
      for (int i = 0; i < 2 * depth; ++i) init(barriers + i);
      fence_init();
    }
    __syncwarp();
  }

  // Asks for tiles [first, first + count) of a sequence, count <= 32; those before were all taken
  // and released.
  __device__ void begin(const SideView& view, int slot, int first, int count) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    page_ = lane < count ? static_cast<int32_t>(view.page_of(slot, (first + lane) * kTileRows)) : 0;
    first_ = first;
    count_ = count;
    next_ = 0;
    fence_copies();
    __syncwarp();
    int at = slot_;
    for (int i = 0; i < min(depth_, count); ++i) {
      request(0, at, i);
      request(1, at, i);
      at = at + 1 == depth_ ? 0 : at + 1;
    }
  }

  // The stage of the current tile, once it is there.
  __device__ const std::byte* take(int side) {
    wait(barriers_ + 2 * slot_ + side, parity_);
    return stage(side, slot_);
  }
  // All lanes have read what take(side) gave.
  __device__ void release(int side) {
    __syncwarp();
    if (next_ + depth_ < count_) request(side, slot_, next_ + depth_);
    if (side == 0) return;
    ++next_;
    if (++slot_ == depth_) {
      slot_ = 0;
      parity_ ^= 1;
    }
  }

  __device__ const StageShape& shape(int side) const { return shape_[side]; }

 private:
  __device__ std::byte* stage(int side, int slot) const {
    return slots_ + slot * (shape_[0].bytes() + shape_[1].bytes()) +
           (side == 0 ? 0 : shape_[0].bytes());
  }
  __device__ void request(int side, int slot, int tile) {
    const int64_t page = __shfl_sync(~0u, page_, tile);
    if (!elected()) return;
    const TileSource& from = source_[side];
    const StageShape& shape = shape_[side];
    const int32_t in = (first_ + tile) * kTileRows % page_tokens_;
    const int64_t meta = page * from.meta_page + in / from.group_tokens * from.group_bytes;
    CopyBarrier* barrier = barriers_ + 2 * slot + side;
    std::byte* to = stage(side, slot);
    expect(barrier, shape.bytes());
    copy(to, from.codes + page * from.code_page + int64_t{in} * from.row_bytes, shape.codes,
         barrier, policy_);
    copy(to + shape.codes, from.scale + meta, shape.scale, barrier, policy_);
    if (shape.zero != 0)
      copy(to + shape.codes + shape.scale, from.zero + meta, shape.zero, barrier, policy_);
  }

  TileSource source_[2];
  StageShape shape_[2];
  int32_t page_tokens_;
  int depth_;
  std::byte* slots_;
  CopyBarrier* barriers_;
  uint64_t policy_;
  int32_t page_ = 0;  // of tile first_ + lane
  int first_ = 0, count_ = 0, next_ = 0;
  int slot_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace kvx::gpu::fused
