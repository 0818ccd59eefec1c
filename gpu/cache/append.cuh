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
//   uint32_t encode(float x, const Group& group) const;  // x of binary16; higher bits are dropped
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

// Warps that a span of at most `max_count` tokens may need on one side.
inline int64_t append_warps(const SideFormat& format, const CacheShape& shape, int32_t max_count) {
  const int64_t tokens = int64_t{max_count} + format.rule.window + format.rule.unit;
  if (format.along_tokens) return token_tiles(shape) * shape.kv_heads * (tokens / format.group + 1);
  const int64_t at_once = int64_t{kRowsPerLane} * (32 / (shape.head_dim / 8));
  return (tokens + at_once - 1) / at_once * shape.kv_heads;
}

template <class Codec>
void append(const Codec& k, const Codec& v, const AppendArgs& args, cudaStream_t stream) {
  if (args.pass.span_count == 0 || args.pass.rows == 0) return;
  const AppendPlan<Codec> plan{{{k, args.view[0], args.k, 0}, {v, args.view[1], args.v, 1}},
                               args.pass.spans,
                               args.non_finite};
  int64_t warps = 0;
  for (const SideView& view : args.view) {
    const int64_t needed = append_warps(view.format, view.shape, args.pass.max_count);
    warps = needed > warps ? needed : warps;
  }
  constexpr int kWarps = kAppendThreads / 32;
  const dim3 grid(static_cast<unsigned>((warps + kWarps - 1) / kWarps),
                  static_cast<unsigned>(args.pass.span_count), 2);
  append_kernel<<<grid, kAppendThreads, 0, stream>>>(plan);
  check_launch("append");
}

}  // namespace kvx::gpu
