// Uniform tiles of a segment by a warp.
#pragma once

#include "gpu/fused/fold.cuh"
#include "gpu/fused/plan.h"
#include "gpu/fused/values.cuh"

namespace kvx::gpu::fused {

// Sums of a segment's uniform tiles, by a warp.
template <int kDim, int kQueries, int kGroups>
class SegmentWarp {
 public:
  __device__ SegmentWarp(const KernelArgs& args, const SharedPlan& plan, int slot, int head,
                         std::byte* shared)
      : args_(args),
        plan_(plan),
        slot_(slot),
        shared_(shared),
        memory_(shared + plan.warps + number() * plan.warp_bytes),
        ring_(args, head, shared + plan.ring + number() * plan.depth * plan.slot_bytes,
              plan.slot_bytes, plan.depth) {}

  // Of the warp, in a way that tells the compiler that it is the same in all lanes.
  __device__ static int number() { return __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0); }

  // Asks for tiles [first, first + count) of the sequence; those before were all run.
  __device__ void prepare(int first, int count) { ring_.begin(slot_, first, count); }
  // The `count` tiles that prepare() asked for; of their rows `rows` are visible. `units`, unless
  // null: [query], what the integers of a single tile are worth, for the fold of such parts.
  __device__ void run(int count, int rows, SegmentSums<kDim>& sums, TileUnits* units) {
#pragma unroll 1
    for (; count > 0; --count, rows -= kTileRows) {
      const bool far = score();
      add(min(rows, kTileRows), far, sums, units);
    }
  }

  // Stores the sums as a part of each query, [query][PartShape].
  __device__ void store(const SegmentSums<kDim>& sums, float* parts) const {
    const int query = lane() % 4, group = lane() / 4;
    if (query >= kQueries) return;
    float* part = parts + query * args_.part.floats();
    const int bits = args_.attend.view[1].format.bits;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) part[channel_of(bits, i, r)] = sums.o[i][r];
    if (group < kGroups) part[kDim + group] = sums.z;
    if (group > 0) return;
    part[args_.part.mass()] = sums.l;
    part[args_.part.maximum()] = __int_as_float(sums.m);
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  __device__ float* scores() const { return reinterpret_cast<float*>(memory_ + plan_.scores); }
  // Of the weights; of the queries, along tokens.
  __device__ std::byte* digits() const { return memory_ + plan_.warp_digits; }

  // Returns whether scores may leave the clamp's range.
  __device__ bool score() {
    const SideGeometry& side = args_.side[0];
    const SideFormat& format = args_.attend.view[0].format;
    const bool along_tokens = format.along_tokens;
    KeyStage keys;
    keys.sets = side.sets;
    keys.flip = args_.scheme.side[0].flip;
    keys.zero_factor = args_.scheme.side[0].zero_factor;
    keys.c = args_.scale;
    keys.digits = along_tokens ? digits() : shared_ + plan_.digits;
    keys.factors = reinterpret_cast<const KeyFactor*>(along_tokens ? memory_ + plan_.warp_factors
                                                                   : shared_ + plan_.factors);
    keys.first_row = 0;
    bool far = !along_tokens;
#pragma unroll 1
    for (int stages = side.stages; stages > 0; --stages, keys.first_row += side.rows) {
      keys.codes = ring_.take();
      keys.scale = keys.codes + side.code_stage;
      keys.zero = keys.scale + side.zero_stage;  // without zeros: the scales
      if (along_tokens && keys.first_row == 0) far = make_digits(keys.scale, keys.zero);
      switch (format.bits) {
        case 2:
          score_rows<2>(keys, along_tokens);
          break;
        case 3:
          score_rows<3>(keys, along_tokens);
          break;
        case 4:
          score_rows<4>(keys, along_tokens);
          break;
        default:
          score_rows<8>(keys, along_tokens);
      }
      ring_.release();
    }
    return far;
  }
  __device__ bool make_digits(const std::byte* scale, const std::byte* zero) const {
    const auto& queries =
        *reinterpret_cast<const QueryMemory<kDim, kQueries>*>(shared_ + plan_.queries);
    auto* factors = reinterpret_cast<KeyFactor*>(memory_ + plan_.warp_factors);
    bool far = false;
#pragma unroll 1
    for (int set = 0; set < args_.side[0].sets; ++set)
      far |= token_digits<kDim, kQueries>(
          queries, scale + set * kDim * 2, zero + set * kDim * 2, args_.scheme.side[0].zero_factor,
          args_.attend.view[0].format.bits, args_.scale, digits() + set * digit_bytes(kQueries),
          factors + set * kQueries);
    __syncwarp();
    return far;
  }
  template <int kBits>
  __device__ void score_rows(const KeyStage& keys, bool along_tokens) const {
    if (along_tokens) {
      score_along_tokens<kBits, kDim, kQueries>(keys, scores());
    } else {
      score_along_channels<kBits, kDim, kQueries>(keys, scores());
    }
  }

  __device__ void add(int visible, bool far, SegmentSums<kDim>& sums, TileUnits* units) {
    const SideGeometry& side = args_.side[1];
    const std::byte* const stage = ring_.take();
    const std::byte* const scale = stage + side.code_stage;
    if (far) clamp_scores<kQueries>(scores());
    const TileWeights<kGroups> weights = weigh<kQueries, kGroups>(
        scores(), visible, {scale, scale + side.zero_stage, args_.scheme.side[1].zero_factor},
        digits());
    if (units != nullptr) store_units(weights, units);
    __syncwarp();
    switch (args_.attend.view[1].format.bits) {
      case 2:
        return add_rows<2>(stage, weights, sums);
      case 3:
        return add_rows<3>(stage, weights, sums);
      case 4:
        return add_rows<4>(stage, weights, sums);
      default:
        return add_rows<8>(stage, weights, sums);
    }
  }
  template <int kBits>
  __device__ void add_rows(const std::byte* stage, const TileWeights<kGroups>& weights,
                           SegmentSums<kDim>& sums) {
    add_values<kBits, kDim, kQueries, kGroups>(ring_, stage, args_.scheme.side[1].flip, digits(),
                                               memory_ + plan_.spread, weights, sums);
  }
  __device__ static void store_units(const TileWeights<kGroups>& weights, TileUnits* units) {
    const int query = lane() % 4, group = lane() / 4;
    if (query >= kQueries || group >= kGroups) return;
    units[query].zeros[group] = weights.zero_unit;
    units[query].values[group] = pick(weights.unit, group);
  }

  const KernelArgs& args_;
  const SharedPlan& plan_;
  const int slot_;
  std::byte* const shared_;
  std::byte* const memory_;  // of the warp
  Ring ring_;
};

// The queries of a block, in both orders.
template <int kDim, int kQueries>
__device__ inline void load_queries(const AttendArgs& args, const Limits& limits,
                                    QueryMemory<kDim, kQueries>& memory) {
  constexpr int kCount = kQueries * kDim, kEach = (kCount + 127) / 128;  // of 128 threads or more
  const int bits = args.view[0].format.bits, thread = static_cast<int>(threadIdx.x);
  float natural[kEach], ordered[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int i = thread + e * static_cast<int>(blockDim.x);
    if (i >= kCount) continue;
    const int at = i % kDim;
    const float* q = args.q + limits.at[i / kDim];
    const WordChannels channels(bits, at / 16);
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
