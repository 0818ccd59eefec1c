// Uniform tiles of a segment by a warp.
#pragma once

#include "gpu/fused/fold.cuh"
#include "gpu/fused/plan.h"
#include "gpu/fused/ring.cuh"
#include "gpu/fused/values.cuh"

namespace kvx::gpu::fused {

// Sums of a segment's uniform tiles, by a warp.
template <int kDim, int kQueries, int kGroups>
class SegmentWarp {
 public:
  __device__ SegmentWarp(const KernelArgs& args, const SharedPlan& plan,
                         const attention::QueryTile& tile, std::byte* shared)
      : args_(args),
        tile_(tile),
        queries_(*reinterpret_cast<const QueryMemory<kDim, kQueries>*>(shared + plan.queries)),
        memory_(shared + plan.warps + number() * plan.warp_bytes),
        scores_(reinterpret_cast<float*>(memory_ + plan.scores)),
        digits_(memory_ + plan.warp_digits),
        factors_(reinterpret_cast<KeyFactor*>(memory_ + plan.warp_factors)),
        spread_(memory_ + plan.spread),
        ring_(args, tile.head, shared + plan.ring + number() * plan.depth * plan.slot_bytes,
              reinterpret_cast<CopyBarrier*>(memory_ + plan.barriers), plan.depth) {
    const bool along_tokens = args.attend.view[0].format.along_tokens;
    keys_.sets = args.side[0].sets;
    keys_.flip = args.scheme.side[0].flip;
    keys_.zero_factor = args.scheme.side[0].zero_factor;
    keys_.c = args.scale;
    keys_.digits = along_tokens ? digits_ : shared + plan.digits;
    keys_.factors =
        along_tokens ? factors_ : reinterpret_cast<const KeyFactor*>(shared + plan.factors);
  }

  // Of the warp, in a way that tells the compiler that it is the same in all lanes.
  __device__ static int number() { return __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0); }

  // Asks for tiles [first, first + count) of the sequence; those before were all run.
  __device__ void prepare(int first, int count) { ring_.begin(tile_.span.slot, first, count); }
  // What prepare() asked for; of its rows `rows` are visible.
  __device__ void run(int rows, SegmentSums<kDim>& sums) {
    for (bool more = true; more; rows -= kTileRows) {
      score(ring_.take(0));
      ring_.release(0);
      add(ring_.take(1), min(rows, kTileRows), sums);
      more = ring_.release(1);
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
  // And what the last tile's integers were worth, for the fold of parts of one tile.
  __device__ void store_units(TileUnits* units) const {
    const int query = lane() % 4, group = lane() / 4;
    if (query >= kQueries || group >= kGroups) return;
    units[query].zeros[group] = last_.zero_unit;
    units[query].values[group] = pick(last_.unit, group);
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  __device__ void score(const std::byte* stage) {
    const SideGeometry& side = args_.side[0];
    const SideFormat& format = args_.attend.view[0].format;
    keys_.codes = stage;
    keys_.scale = stage + side.code_tile;
    keys_.zero = keys_.scale + side.zero_tile;  // without zeros: the scales
    far_ = !format.along_tokens;
    if (format.along_tokens) {
      for (int i = 0; i < side.sets; ++i)
        far_ |= token_digits<kDim, kQueries>(
            queries_, keys_.scale + i * kDim * 2, keys_.zero + i * kDim * 2, keys_.zero_factor,
            format.bits, keys_.c, digits_ + i * digit_bytes(kQueries), factors_ + i * kQueries);
      __syncwarp();
    }
    switch (format.bits) {
      case 2:
        return score_rows<2>(format.along_tokens);
      case 3:
        return score_rows<3>(format.along_tokens);
      case 4:
        return score_rows<4>(format.along_tokens);
      default:
        return score_rows<8>(format.along_tokens);
    }
  }
  template <int kBits>
  __device__ void score_rows(bool along_tokens) {
    if (along_tokens) {
      score_along_tokens<kBits, kDim, kQueries>(keys_, scores_);
    } else {
      score_along_channels<kBits, kDim, kQueries>(keys_, scores_);
    }
  }

  __device__ void add(const std::byte* stage, int visible, SegmentSums<kDim>& sums) {
    const SideGeometry& side = args_.side[1];
    const AffineSide& affine = args_.scheme.side[1];
    const std::byte* scale = stage + side.code_tile;
    if (far_) clamp_scores<kQueries>(scores_);
    last_ = weigh<kQueries, kGroups>(scores_, visible,
                                     {scale, scale + side.zero_tile, affine.zero_factor}, digits_);
    __syncwarp();
    switch (args_.attend.view[1].format.bits) {
      case 2:
        return add_values<2, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, last_,
                                                      sums);
      case 3:
        return add_values<3, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, last_,
                                                      sums);
      case 4:
        return add_values<4, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, last_,
                                                      sums);
      default:
        return add_values<8, kDim, kQueries, kGroups>(stage, affine.flip, digits_, spread_, last_,
                                                      sums);
    }
  }

  const KernelArgs& args_;
  const attention::QueryTile& tile_;
  const QueryMemory<kDim, kQueries>& queries_;
  std::byte* const memory_;
  float* const scores_;
  std::byte* const digits_;
  KeyFactor* const factors_;
  std::byte* const spread_;
  Ring ring_;
  KeyTile keys_;
  bool far_ = false;  // the tile's scores may leave the clamp's range
  TileWeights<kGroups> last_;
};

// The queries of a block, in both orders.
template <int kDim, int kQueries>
__device__ inline void load_queries(const AttendArgs& args, const Limits& limits,
                                    QueryMemory<kDim, kQueries>& memory) {
  const int bits = args.view[0].format.bits;
  for (int i = static_cast<int>(threadIdx.x); i < kQueries * kDim;
       i += static_cast<int>(blockDim.x)) {
    const int query = i / kDim, at = i % kDim;
    const float* q = args.q + limits.at[query];
    const WordChannels channels(bits, at / 16);
    memory.natural[query][at] = q[at];
    memory.ordered[query][at] =
        q[at / 4 % 4 * (kDim / 4) + channels.first + at % 4 * channels.step];
  }
}

}  // namespace kvx::gpu::fused
