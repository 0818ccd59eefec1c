// Sealing: the tokens of a pass that the rule seals now become codes and metadata in one walk over
// the input. A warp owns whole groups, so that nothing depends on the launch but which warp does
// what.
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

#include <algorithm>

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

// Passes of as many rows take one launch for both sides; for longer ones each side's kernel has the
// registers to itself and its arguments among its operands.
inline constexpr int32_t kShortPass = 512;

template <class Codec>
__global__ void __launch_bounds__(kAppendThreads, 2)
    append_kernel(const __grid_constant__ AppendPlan<Codec> plan) {
  const AppendSide<Codec>& side = plan.side[blockIdx.z];
  const PassSpan span = plan.spans[blockIdx.y];
  if constexpr (Codec::kAlongTokens) {
    if (side.view.format.along_tokens) {
      append_tokens(side, span, plan.non_finite);
      return;
    }
  }
  append_channels(side, span, plan.non_finite);
}

template <class Codec, bool kTokens>
__global__ void __launch_bounds__(kAppendThreads, kTokens ? 2 : 4)
    append_side_kernel(const __grid_constant__ AppendSide<Codec> side, const PassSpan* spans,
                       NonFiniteKey* non_finite) {
  const PassSpan span = spans[blockIdx.y];
  if constexpr (kTokens) {
    append_tokens(side, span, non_finite);
  } else {
    append_channels(side, span, non_finite);
  }
}

// Warps that a span of at most `max_count` tokens may need on one side.
inline int64_t append_warps(const SideFormat& format, const CacheShape& shape, int32_t max_count) {
  const int64_t tokens = int64_t{max_count} + format.rule.window + format.rule.unit;
  if (format.along_tokens) return token_tiles(shape) * shape.kv_heads * (tokens / format.group + 1);
  const int64_t at_once = int64_t{kRowsPerLane} * (32 / (shape.head_dim / 8));
  return (tokens + at_once - 1) / at_once * shape.kv_heads;
}

inline dim3 append_grid(int64_t warps, const Pass& pass, unsigned sides) {
  constexpr int kWarps = kAppendThreads / 32;
  return {static_cast<unsigned>((warps + kWarps - 1) / kWarps),
          static_cast<unsigned>(pass.span_count), sides};
}

template <class Codec>
void append(const Codec& k, const Codec& v, const AppendArgs& args, cudaStream_t stream) {
  const Pass& pass = args.pass;
  if (pass.span_count == 0 || pass.rows == 0) return;
  const AppendPlan<Codec> plan{
      {{k, args.view[0], args.k, 0}, {v, args.view[1], args.v, 1}}, pass.spans, args.non_finite};
  const auto warps = [&](const AppendSide<Codec>& side) {
    return append_warps(side.view.format, side.view.shape, pass.max_count);
  };
  if (pass.rows <= kShortPass) {
    const int64_t most = std::max(warps(plan.side[0]), warps(plan.side[1]));
    append_kernel<<<append_grid(most, pass, 2), kAppendThreads, 0, stream>>>(plan);
    check_launch("append");
    return;
  }
  for (const AppendSide<Codec>& side : plan.side) {
    const dim3 grid = append_grid(warps(side), pass, 1);
    bool tokens = false;
    if constexpr (Codec::kAlongTokens) {
      tokens = side.view.format.along_tokens;
      if (tokens)
        append_side_kernel<Codec, true>
            <<<grid, kAppendThreads, 0, stream>>>(side, plan.spans, plan.non_finite);
    }
    if (!tokens)
      append_side_kernel<Codec, false>
          <<<grid, kAppendThreads, 0, stream>>>(side, plan.spans, plan.non_finite);
    check_launch("append");
  }
}

}  // namespace kvx::gpu
