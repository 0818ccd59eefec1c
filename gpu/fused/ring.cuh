// The tiles that a warp reads, through a ring of slots in shared memory that bulk copies fill. A
// slot holds a stage: some rows of a tile's K, or of its V, codes, scales and zeros; K's stages
// come before V's. Each slot is fetched anew as soon as it has been read.
#pragma once

#include "gpu/fused/bulk.cuh"
#include "gpu/fused/plan.h"

namespace kvx::gpu::fused {

// The tiles of a warp, in order: shares of 1 or kSegmentTiles tiles, which the warps of a block
// take in turn.
struct TileOrder {
  int first, share, stride;  // tiles from one share to the next
  int count;                 // of all shares

  // Of warp `number` of `warps` among tiles [begin, end).
  __device__ __forceinline__ TileOrder(int number, int warps, int share, int begin, int end)
      : first(begin + number * share), share(share), stride(warps * share) {
    const int left = max(end - first, 0), rounds = left / stride;
    count = rounds * share + min(left - rounds * stride, share);
  }
  __device__ __forceinline__ int operator[](int i) const {
    const int round = share == 1 ? i : i / kSegmentTiles;
    return first + round * stride + (i - round * share);
  }
};

// Slots of a ring. Scales of many groups take more room.
KVX_HD constexpr int ring_depth(int groups) { return groups == 1 ? kMostSlots : kMostSlots / 2; }

template <int kDim, int kGroups, int kKeyBits, int kValueBits>
class Ring {
 public:
  static constexpr int kKeyStages = stage_count(kKeyBits, kDim);
  static constexpr int kValueStages = stage_count(kValueBits, kDim);
  static constexpr int kDepth = ring_depth(kGroups);

  // `slots` has room for kDepth stages; a barrier each.
  __device__ __forceinline__ Ring(const KernelArgs& args, int slot, int head,
                                  const TileOrder& order, std::byte* slots, int slot_bytes,
                                  CopyBarrier* barriers)
      : args_(args),
        slot_(slot),
        head_(head),
        order_(order),
        slots_(slots),
        slot_bytes_(slot_bytes),
        barriers_(barriers) {
    if (elected()) init_copies(barriers, kDepth);
    __syncwarp();
  }

  // Asks for the first stages.
  __device__ __forceinline__ void begin() {
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      request(i);
      at_ = at_ + 1 == kDepth ? 0 : at_ + 1;
    }
  }

  // The current stage, once it is there.
  __device__ __forceinline__ const std::byte* take() {
    wait_for_copies(barriers_ + at_, parity_);
    return slots_ + at_ * slot_bytes_;
  }
  // All lanes have read what take() gave, stage `stage` of a tile, a constant: first K's.
  __device__ __forceinline__ void release(int stage) {
    __syncwarp();
    request(stage + kDepth);
    if (++at_ == kDepth) at_ = 0, parity_ ^= 1;
    if (stage + 1 == kStages) ++tile_;
  }

 private:
  static constexpr int kStages = kKeyStages + kValueStages;

  // A stage of the current tile, or of those behind it, into the current slot; in order.
  __device__ __forceinline__ void request(int stage) {
    const int tile = tile_ + stage / kStages, in_tile = stage % kStages;
    if (tile >= order_.count) return;
    if (in_tile == 0 && tile % 32 == 0) place_ = place_of(tile + lane_of_warp());
    if (in_tile < kKeyStages) {
      fetch<0>(tile, in_tile);
    } else {
      fetch<1>(tile, in_tile - kKeyStages);
    }
  }
  // Of tile i of the order, or the last one, among all tiles of the cache.
  __device__ __forceinline__ int place_of(int i) const {
    const SideView& view = args_.attend.view[0];
    const int tile = order_[min(i, order_.count - 1)];
    const int page_tiles = view.shape.page_tokens / kTileRows;
    const int number = tile / page_tiles, in_page = tile - number * page_tiles;
    const int page = view.pages[int64_t{slot_} * view.pages_per_slot + number];
    return (page * view.shape.kv_heads + head_) * page_tiles + in_page;
  }
  template <int kSide>
  __device__ __forceinline__ void fetch(int tile, int stage) {
    constexpr int kBits = kSide == 0 ? kKeyBits : kValueBits;
    constexpr uint32_t kCodes = stage_bytes(kBits, kDim);
    const SideView& view = args_.attend.view[kSide];
    const SideGeometry& g = args_.side[kSide];
    const auto place = static_cast<uint32_t>(__shfl_sync(~0u, place_, tile));
    if (!elected()) return;
    std::byte* const to = slots_ + at_ * slot_bytes_;
    CopyBarrier* const barrier = barriers_ + at_;
    const bool meta = stage == 0 || g.meta_each;
    expect(barrier, meta ? kCodes + g.meta_stage + g.zero_stage : kCodes);
    copy(to,
         view.codes + uint64_t{place} * (kCodes * stage_count(kBits, kDim)) +
             static_cast<uint32_t>(stage) * kCodes,
         kCodes, barrier);
    if (!meta) return;
    const uint64_t at =
        uint64_t{g.meta_tiles == 1 ? place : place / static_cast<uint32_t>(g.meta_tiles)} *
            static_cast<uint32_t>(g.meta_tile) +
        static_cast<uint32_t>(stage * g.meta_stage);
    copy(to + kCodes, view.scale + at, g.meta_stage, barrier);
    if (g.zero_stage > 0) copy(to + kCodes + g.meta_stage, view.zero + at, g.zero_stage, barrier);
  }

  const KernelArgs& args_;
  const int slot_, head_;
  const TileOrder order_;
  std::byte* const slots_;
  const int slot_bytes_;
  CopyBarrier* const barriers_;
  int place_ = 0;  // of tile tile_ / 32 * 32 + lane
  int tile_ = 0;   // that is read
  int at_ = 0;     // its slot
  uint32_t parity_ = 0;
};

}  // namespace kvx::gpu::fused
