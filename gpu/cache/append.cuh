// Sealing: the tokens of a pass that the rule seals now become codes and metadata in one walk over
// the input. One launch for both sides; a warp owns whole groups, so that nothing depends on the
// launch but which warp does what.
//
// What a codec adds to rows.cuh for this:
//
//   using Stats = ...;                            // of some values; merging is free of order
//   Stats stats(const Eight& x, int first) const; // of values `first`, first + 1, ... of a group
//   Stats merge(const Stats& a, const Stats& b) const;
//   struct Group { uint32_t scale, zero; ... };   // patterns to store, and what encode needs
//   Group group(const Stats& stats, int head) const;
//   // Codes of two values in binary16, each of its group, in the halves of a word.
//   uint32_t encode(uint32_t pair, const Group& low, const Group& high) const;
//   static constexpr bool kAnyGroup;     // groups need not be multiples of 8: Stats stats(bits)
//   static constexpr bool kAlongTokens;  // groups may lie along tokens: Stats is a MinMax,
//                                        // `using Extremes = MinMax<...>`
#pragma once

#include "gpu/cache/append_channels.cuh"
#include "gpu/cache/append_tokens.cuh"
#include "gpu/cache/kernels.h"
#include "gpu/common/check.h"

namespace kvx::gpu {

template <class Codec>
struct AppendPlan {
  AppendSide<Codec> side[2];
  const PassSpan* spans = nullptr;
  NonFiniteKey* non_finite = nullptr;
};

// Where groups lie on the sides of a launch. One launch takes sides of both kinds where a pass is
// short and a launch is what it costs; else each kind has the registers to itself.
enum class GroupAxis : uint8_t { kChannels, kTokens, kEither };
inline constexpr int32_t kShortPass = 512;

template <class Codec, GroupAxis kAxis>
__global__ void __launch_bounds__(kAppendThreads, kAxis == GroupAxis::kChannels ? 4 : 2)
    append_kernel(const __grid_constant__ AppendPlan<Codec> plan, int first_side) {
  const AppendSide<Codec>& side = plan.side[first_side + blockIdx.z];
  const PassSpan span = plan.spans[blockIdx.y];
  if constexpr (kAxis != GroupAxis::kChannels) {
    if (kAxis == GroupAxis::kTokens || side.view.format.along_tokens) {
      append_tokens(side, span, plan.non_finite);
      return;
    }
  }
  if constexpr (kAxis != GroupAxis::kTokens) append_channels(side, span, plan.non_finite);
}

// Warps that a span of at most `max_count` tokens may need on one side.
inline int64_t append_warps(const SideFormat& format, const CacheShape& shape, int32_t max_count) {
  const int64_t tokens = int64_t{max_count} + format.rule.window + format.rule.unit;
  if (format.along_tokens) return token_tiles(shape) * shape.kv_heads * (tokens / format.group + 1);
  const int64_t at_once = int64_t{kRowsPerLane} * (32 / (shape.head_dim / 8));
  return (tokens + at_once - 1) / at_once * shape.kv_heads;
}

template <class Codec, GroupAxis kAxis>
void launch_append(const AppendPlan<Codec>& plan, const Pass& pass, int first_side, int sides,
                   cudaStream_t stream) {
  int64_t warps = 0;
  for (int i = first_side; i < first_side + sides; ++i) {
    const SideView& view = plan.side[i].view;
    const int64_t needed = append_warps(view.format, view.shape, pass.max_count);
    warps = needed > warps ? needed : warps;
  }
  constexpr int kWarps = kAppendThreads / 32;
  const dim3 grid(static_cast<unsigned>((warps + kWarps - 1) / kWarps),
                  static_cast<unsigned>(pass.span_count), static_cast<unsigned>(sides));
  append_kernel<Codec, kAxis><<<grid, kAppendThreads, 0, stream>>>(plan, first_side);
  check_launch("append");
}

template <class Codec>
void append(const Codec& k, const Codec& v, const AppendArgs& args, cudaStream_t stream) {
  if (args.pass.span_count == 0 || args.pass.rows == 0) return;
  const AppendPlan<Codec> plan{{{k, args.view[0], args.k, 0}, {v, args.view[1], args.v, 1}},
                               args.pass.spans,
                               args.non_finite};
  if constexpr (Codec::kAlongTokens) {
    const bool k_tokens = args.view[0].format.along_tokens;
    const bool v_tokens = args.view[1].format.along_tokens;
    if (k_tokens && v_tokens)
      return launch_append<Codec, GroupAxis::kTokens>(plan, args.pass, 0, 2, stream);
    if (k_tokens != v_tokens) {
      if (args.pass.rows <= kShortPass)
        return launch_append<Codec, GroupAxis::kEither>(plan, args.pass, 0, 2, stream);
      launch_append<Codec, GroupAxis::kTokens>(plan, args.pass, k_tokens ? 0 : 1, 1, stream);
      return launch_append<Codec, GroupAxis::kChannels>(plan, args.pass, k_tokens ? 1 : 0, 1,
                                                        stream);
    }
  }
  launch_append<Codec, GroupAxis::kChannels>(plan, args.pass, 0, 2, stream);
}

}  // namespace kvx::gpu
