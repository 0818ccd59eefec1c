// Uniform tiles of a segment by a warp.
#pragma once

#include "gpu/fused/fold.cuh"
#include "gpu/fused/plan.h"
#include "gpu/fused/values.cuh"

namespace kvx::gpu::fused {

// Sums of a segment's uniform tiles, by a warp.
template <int kDim, int kQueries, int kGroups, int kKeyBits, int kValueBits>
class SegmentWarp {
 public:
  __device__ __forceinline__ SegmentWarp(const KernelArgs& args, const SharedPlan& plan, int slot,
                                         int head, const TileOrder& order, std::byte* shared)
      : args_(args),
        plan_(plan),
        shared_(shared),
        memory_(shared + plan.warps + number() * plan.warp_bytes),
        ring_(args, slot, head, order,
              shared + plan.ring + number() * Slots::kDepth * plan.slot_bytes, plan.slot_bytes,
              reinterpret_cast<CopyBarrier*>(memory_ + plan.barriers)) {}

  __device__ __forceinline__ static int number() {
    return uniform(static_cast<int>(threadIdx.x) / 32);
  }

  // Asks for the first tiles.
  __device__ __forceinline__ void begin() { ring_.begin(); }
  // The next `count` tiles of the order; of their rows `rows` are visible. `units`, unless
  // null: [query], what the integers of a single tile are worth, for the fold of such parts.
  __device__ __forceinline__ void run(int count, int rows, SegmentSums<kDim>& sums,
                                      TileUnits* units) {
#pragma unroll 1
    for (; count > 0; --count, rows -= kTileRows) {
      const bool far = score();
      add(min(rows, kTileRows), far, sums, units);
    }
  }

  // Stores the sums as a part of each query, [query][PartShape].
  __device__ __forceinline__ void store(const SegmentSums<kDim>& sums, float* parts) const {
    const int query = lane_of_warp() % 4, group = lane_of_warp() / 4;
    if (query >= kQueries) return;
    float* part = parts + query * args_.part.floats();
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) part[channel_of(kValueBits, i, r)] = sums.o[i][r];
    if (group < kGroups) part[kDim + group] = sums.z;
    if (group > 0) return;
    part[args_.part.mass()] = sums.l;
    part[args_.part.maximum()] = __int_as_float(sums.m);
  }

 private:
  using Slots = Ring<kDim, kGroups, kKeyBits, kValueBits>;

  __device__ __forceinline__ float* scores() const {
    return reinterpret_cast<float*>(memory_ + plan_.scores);
  }
  // Of the weights; of the queries, along tokens.
  __device__ __forceinline__ std::byte* digits() const { return memory_ + plan_.warp_digits; }

  // Returns whether scores may leave the clamp's range.
  __device__ __forceinline__ bool score() {
    const SideGeometry& side = args_.side[0];
    const bool along_tokens = args_.attend.view[0].format.along_tokens;
    KeyStage keys;
    keys.sets = side.sets;
    keys.flip = args_.scheme.side[0].flip;
    keys.zero_factor = args_.scheme.side[0].zero_factor;
    keys.c = args_.scale;
    keys.digits = along_tokens ? digits() : shared_ + plan_.digits;
    keys.factors = reinterpret_cast<const KeyFactor*>(along_tokens ? memory_ + plan_.warp_factors
                                                                   : shared_ + plan_.factors);
    bool far = !along_tokens;
#pragma unroll
    for (int stage = 0; stage < stage_count(kKeyBits, kDim); ++stage) {
      keys.first_row = stage * stage_rows(kKeyBits, kDim);
      keys.codes = ring_.take();
      keys.scale = keys.codes + stage_bytes(kKeyBits, kDim);
      keys.zero = keys.scale + side.zero_stage;  // without zeros: the scales
      if (along_tokens && stage == 0) far = make_digits(keys.scale, keys.zero);
      if (along_tokens && keys.sets == 1) {
        score_along_tokens<kKeyBits, kDim, kQueries, true>(keys, scores());
      } else if (along_tokens) {
        score_along_tokens<kKeyBits, kDim, kQueries, false>(keys, scores());
      } else {
        score_along_channels<kKeyBits, kDim, kQueries>(keys, scores());
      }
      ring_.release(stage);
    }
    return far;
  }
  __device__ __forceinline__ bool make_digits(const std::byte* scale, const std::byte* zero) const {
    const auto& queries =
        *reinterpret_cast<const QueryMemory<kDim, kQueries>*>(shared_ + plan_.queries);
    auto* factors = reinterpret_cast<KeyFactor*>(memory_ + plan_.warp_factors);
    bool far = false;
#pragma unroll 1
    for (int set = 0; set < args_.side[0].sets; ++set)
      far |= token_digits<kDim, kQueries>(
          queries, scale + set * kDim * 2, zero + set * kDim * 2, args_.scheme.side[0].zero_factor,
          kKeyBits, args_.scale, digits() + set * digit_bytes(kQueries), factors + set * kQueries);
    __syncwarp();
    return far;
  }
  __device__ __forceinline__ void add(int visible, bool far, SegmentSums<kDim>& sums,
                                      TileUnits* units) {
    const SideGeometry& side = args_.side[1];
    const std::byte* const stage = ring_.take();
    const std::byte* const scale = stage + stage_bytes(kValueBits, kDim);
    if (far) clamp_scores<kQueries>(scores());
    if (visible < kTileRows) hide_rows<kQueries>(scores(), visible);
    const TileWeights<kGroups> weights = weigh<kQueries, kGroups>(
        scores(), visible, {scale, scale + side.zero_stage, args_.scheme.side[1].zero_factor},
        digits());
    if (units != nullptr) store_units(weights, units);
    __syncwarp();
    const uint32_t flip = args_.scheme.side[1].flip;
    std::byte* const spread = memory_ + plan_.spread;
    if (flip == 0) {
      add_values<kValueBits, kDim, kQueries, kGroups>(ring_, stage, 0, digits(), spread, weights,
                                                      sums);
    } else {
      add_values<kValueBits, kDim, kQueries, kGroups>(ring_, stage, flip, digits(), spread, weights,
                                                      sums);
    }
  }
  __device__ static void store_units(const TileWeights<kGroups>& weights, TileUnits* units) {
    const int query = lane_of_warp() % 4, group = lane_of_warp() / 4;
    if (query >= kQueries || group >= kGroups) return;
    units[query].zeros[group] = weights.zero_unit;
    units[query].values[group] = pick(weights.unit, group);
  }

  const KernelArgs& args_;
  const SharedPlan& plan_;
  std::byte* const shared_;
  std::byte* const memory_;  // of the warp
  Slots ring_;
};

// The queries of a block, in both orders.
template <int kDim, int kQueries, int kKeyBits>
__device__ __forceinline__ void load_queries(const AttendArgs& args, const Limits& limits,
                                             QueryMemory<kDim, kQueries>& memory) {
  constexpr int kCount = kQueries * kDim, kEach = (kCount + 127) / 128;  // of 128 threads or more
  const int thread = static_cast<int>(threadIdx.x);
  float natural[kEach], ordered[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int i = thread + e * static_cast<int>(blockDim.x);
    if (i >= kCount) continue;
    const int at = i % kDim;
    const float* q = args.q + limits.at[i / kDim];
    const WordChannels channels(kKeyBits, at / 16);
    natural[e] = q[at];
    ordered[e] = q[at / 4 % 4 * (kDim / 4) + channels.first + at % 4 * channels.step];
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int i = thread + e * static_cast<int>(blockDim.x);
    if (i >= kCount) continue;
    memory.natural[i / kDim][i % kDim] = natural[e];
    memory.ordered[i / kDim][i % kDim] = ordered[e];
  }
}

}  // namespace kvx::gpu::fused
