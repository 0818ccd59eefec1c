// The tiles of a segment as a warp reads them: its own ring of slots in shared memory, filled by
// asynchronous copies of 16 bytes a lane. A slot holds a stage: some rows of a tile's K, or of its
// V; K's stages come before V's. Each slot is fetched anew as soon as it has been read.
#pragma once

#include "gpu/fused/async_copy.cuh"
#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

class Ring {
 public:
  // `slots` has room for `depth` stages of `slot_bytes`; depth <= kMostPending + 1.
  __device__ Ring(const KernelArgs& args, int head, std::byte* slots, int slot_bytes, int depth)
      : args_(args), head_(head), depth_(depth), slot_bytes_(slot_bytes), slots_(slots) {}

  // Asks for tiles [first, first + count) of a sequence, count <= 32; those before were all taken
  // and released.
  __device__ void begin(int slot, int first, int count) {
    const SideView& view = args_.attend.view[0];
    const int tile = first + min(lane(), count - 1);
    const int page_tiles = view.shape.page_tokens / kTileRows;
    const int32_t number = tile / page_tiles, in_page = tile - number * page_tiles;
    const int64_t page = view.pages[int64_t{slot} * view.pages_per_slot + number];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const SideGeometry& g = args_.side[side];
      codes_[side] =
          units(page * g.code_page + int64_t{head_} * g.code_head + int64_t{in_page} * g.code_tile);
      meta_[side] = units(page * g.meta_page + int64_t{head_} * g.meta_head +
                          int64_t{in_page / g.meta_tiles} * g.meta_tile);
    }
    stage_ = tile_ = 0;
    tiles_ = count;
    __syncwarp();
    int at = slot_;
    for (int i = 0; i < depth_; ++i) {
      request(at);
      at = at + 1 == depth_ ? 0 : at + 1;
    }
  }

  // The current stage, once it is there.
  __device__ const std::byte* take() {
    wait_for_copies(depth_ - 1);
    __syncwarp();
    return slots_ + slot_ * slot_bytes_;
  }
  // All lanes have read what take() gave.
  __device__ void release() {
    __syncwarp();
    request(slot_);
    slot_ = slot_ + 1 == depth_ ? 0 : slot_ + 1;
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  // Bytes in units of 16: 64 GiB fit into 32 bits.
  __device__ static uint32_t units(int64_t bytes) { return static_cast<uint32_t>(bytes >> 4); }

  // The next stage, if there is one, into a slot.
  __device__ void request(int slot) {
    if (tile_ < tiles_) {
      const int k_stages = args_.side[0].stages;
      if (stage_ < k_stages) {
        fetch<0>(slot, stage_);
      } else {
        fetch<1>(slot, stage_ - k_stages);
      }
      if (++stage_ == k_stages + args_.side[1].stages) stage_ = 0, ++tile_;
    }
    end_copies();
  }
  template <int kSide>
  __device__ void fetch(int slot, int stage) {
    const SideView& view = args_.attend.view[kSide];
    const SideGeometry& g = args_.side[kSide];
    std::byte* to = slots_ + slot * slot_bytes_ + lane() * 16;
    const std::byte* codes = view.codes + uint64_t{__shfl_sync(~0u, codes_[kSide], tile_)} * 16 +
                             static_cast<uint32_t>(stage * g.code_stage + lane() * 16);
    // 4 to 8 times 512 bytes.
#pragma unroll
    for (int i = 0; i < 4; ++i) copy16(to + i * 512, codes + i * 512);
    if (g.code_stage > 2048)
#pragma unroll
      for (int i = 4; i < 6; ++i) copy16(to + i * 512, codes + i * 512);
    if (g.code_stage > 3072)
#pragma unroll
      for (int i = 6; i < 8; ++i) copy16(to + i * 512, codes + i * 512);
    if (stage > 0 && !g.meta_each) return;
    to += g.code_stage;
    const uint64_t meta = uint64_t{__shfl_sync(~0u, meta_[kSide], tile_)} * 16 +
                          static_cast<uint32_t>(g.meta_each ? stage * g.meta_stage : 0);
    for (int at = lane() * 16; at < g.meta_stage + g.zero_stage; at += 512, to += 512)
      copy16(to,
             at < g.meta_stage ? view.scale + meta + at : view.zero + meta + (at - g.meta_stage));
  }

  const KernelArgs& args_;
  int head_, depth_, slot_bytes_;
  std::byte* slots_;
  uint32_t codes_[2] = {}, meta_[2] = {};  // where those of tile `lane` lie
  int tile_ = 0, stage_ = 0, tiles_ = 0;   // to ask for next; tiles that there are
  int slot_ = 0;
};

}  // namespace kvx::gpu::fused
