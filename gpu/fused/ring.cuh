// The tiles of a segment as a warp reads them: its own ring of slots in shared memory, filled by
// bulk copies. A slot holds a tile's K and V; each is fetched anew as soon as it has been read.
#pragma once

#include "gpu/fused/bulk.cuh"
#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

class Ring {
 public:
  // `slots` has room for `depth` tiles, `barriers` for 2 depth.
  __device__ Ring(const KernelArgs& args, int head, std::byte* slots, CopyBarrier* barriers,
                  int depth)
      : args_(args), head_(head), depth_(depth), slots_(slots), barriers_(barriers) {
    if (elected()) {
      for (int i = 0; i < 2 * depth; ++i) init(barriers + i);
      fence_init();
    }
    __syncwarp();
  }

  // Asks for tiles [first, first + count) of a sequence, count <= 32; those before were all taken
  // and released.
  __device__ void begin(int slot, int first, int count) {
    const SideView& view = args_.attend.view[0];
    const int tile = first + min(static_cast<int>(threadIdx.x) % 32, count - 1);
    const int page_tiles = view.shape.page_tokens / kTileRows;
    const int32_t number = tile / page_tiles, in_page = tile - number * page_tiles;
    const int64_t page = view.pages[int64_t{slot} * view.pages_per_slot + number];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const SideGeometry& g = args_.side[side];
      codes_[side] = offset(page * g.code_page + int64_t{head_} * g.code_head +
                            int64_t{in_page} * g.code_tile);
      meta_[side] = offset(page * g.meta_page + int64_t{head_} * g.meta_head +
                           int64_t{in_page / g.meta_tiles} * g.meta_tile);
    }
    count_ = count;
    next_ = depth_;
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
  // All lanes have read what take(side) gave. Of V: whether there is a tile after it.
  __device__ bool release(int side) {
    __syncwarp();
    if (next_ < count_) request(side, slot_, next_);
    if (side == 0) return true;
    ++next_;
    if (++slot_ == depth_) {
      slot_ = 0;
      parity_ ^= 1;
    }
    return next_ < count_ + depth_;
  }

 private:
  __device__ std::byte* stage(int side, int slot) const {
    return slots_ + slot * (args_.side[0].stage + args_.side[1].stage) +
           (side == 0 ? 0 : args_.side[0].stage);
  }
  // Bytes in units of 16: 64 GiB fit into 32 bits.
  __device__ static uint32_t offset(int64_t bytes) { return static_cast<uint32_t>(bytes >> 4); }

  __device__ void request(int side, int slot, int tile) {
    const SideView& view = args_.attend.view[side];
    const SideGeometry& g = args_.side[side];
    const uint64_t codes = uint64_t{__shfl_sync(~0u, codes_[side], tile)} * 16;
    const uint64_t meta = uint64_t{__shfl_sync(~0u, meta_[side], tile)} * 16;
    if (!elected()) return;
    CopyBarrier* barrier = barriers_ + 2 * slot + side;
    std::byte* to = stage(side, slot);
    const uint64_t policy = evict_first();
    expect(barrier, static_cast<uint32_t>(g.stage));
    copy(to, view.codes + codes, static_cast<uint32_t>(g.code_tile), barrier, policy);
    copy(to + g.code_tile, view.scale + meta, static_cast<uint32_t>(g.meta_tile), barrier, policy);
    if (g.zero_tile != 0)
      copy(to + g.code_tile + g.meta_tile, view.zero + meta, static_cast<uint32_t>(g.zero_tile),
           barrier, policy);
  }

  const KernelArgs& args_;
  int head_, depth_;
  std::byte* slots_;
  CopyBarrier* barriers_;
  uint32_t codes_[2] = {}, meta_[2] = {};  // where those of tile `lane` lie
  int count_ = 0, next_ = 0;               // of the tiles, and the one to ask for next
  int slot_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace kvx::gpu::fused
