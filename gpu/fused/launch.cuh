// The launch of a kernel by its shape.
#pragma once

#include <algorithm>

#include "gpu/common/processors.h"
#include "gpu/fused/kernel.cuh"
#include "gpu/fused/launch.h"

namespace kvx::gpu::fused {

// How the blocks of a launch take rows.
inline SharedPlan plan_blocks(KernelArgs& args, int queries, int depth) {
  const int64_t blocks = int64_t{args.tiles} * args.attend.view[0].shape.kv_heads *
                         args.attend.pass.span_count * args.blocks();
  // Blocks of two spans leave half as many parts; but there must be one for most processors.
  if (args.part_rows == kSpanRows && args.parts > 1 && blocks > processors() &&
      blocks * 2 >= int64_t{3} * processors()) {
    args.side_by_side = 2;
    const SharedPlan pairs = plan_fast(args, queries, depth);
    if (pairs.warp_count > 0) return pairs;
    args.side_by_side = 1;
  }
  return plan_fast(args, queries, depth);
}

template <int kDim, int kQueries, int kGroups, int kKeyBits, int kValueBits>
bool launch(KernelArgs args, cudaStream_t stream) {
  const SharedPlan plan =
      kDim == 0 ? plan_plain(args) : plan_blocks(args, kQueries, ring_depth(kGroups));
  const unsigned blocks = static_cast<unsigned>(args.blocks());
  const dim3 grid(blocks * static_cast<unsigned>(args.tiles),
                  static_cast<unsigned>(args.attend.view[0].shape.kv_heads),
                  static_cast<unsigned>(args.attend.pass.span_count));
  const auto kernel = fused_kernel<kDim, kQueries, kGroups, kKeyBits, kValueBits>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "shared memory of fused_kernel");
  SuccessorLaunch launch{.grid = grid,
                         .block = dim3(static_cast<unsigned>(plan.warp_count) * 32),
                         .shared_bytes = static_cast<size_t>(plan.bytes),
                         .stream = stream,
                         .cluster = blocks};
  args.cluster = blocks == 1
                     ? args.parts > 0
                     : args.parts <= kMostShared &&
                           most_clusters(reinterpret_cast<const void*>(kernel), launch) * blocks >=
                               int64_t{grid.x} * grid.y * grid.z;
  if (!args.cluster) launch.cluster = 1;
  launch_successor("fused_kernel", kernel, launch, args, plan);
  return args.parts > 0 && !args.cluster;
}

// K and V of one width.
template <int kDim, int kQueries, int kGroups>
bool launch_even(const KernelArgs& args, cudaStream_t stream) {
  switch (args.attend.view[0].format.bits) {
    case 2:
      return launch<kDim, kQueries, kGroups, 2, 2>(args, stream);
    case 3:
      return launch<kDim, kQueries, kGroups, 3, 3>(args, stream);
    case 4:
      return launch<kDim, kQueries, kGroups, 4, 4>(args, stream);
    default:
      return launch<kDim, kQueries, kGroups, 8, 8>(args, stream);
  }
}
// Of two: 2, 4 and 8 bits.
template <int kDim, int kGroups>
bool launch_mixed(const KernelArgs& args, cudaStream_t stream) {
  constexpr int kQueries = kBlockQueries;
  switch (10 * args.attend.view[0].format.bits + args.attend.view[1].format.bits) {
    case 24:
      return launch<kDim, kQueries, kGroups, 2, 4>(args, stream);
    case 28:
      return launch<kDim, kQueries, kGroups, 2, 8>(args, stream);
    case 42:
      return launch<kDim, kQueries, kGroups, 4, 2>(args, stream);
    case 48:
      return launch<kDim, kQueries, kGroups, 4, 8>(args, stream);
    case 82:
      return launch<kDim, kQueries, kGroups, 8, 2>(args, stream);
    default:
      return launch<kDim, kQueries, kGroups, 8, 4>(args, stream);
  }
}

template <int kDim>
bool launch_even(const KernelArgs& args, cudaStream_t stream) {
  return by_groups<kDim>(args, [&](auto groups) {
    if constexpr (has_one_query(groups()))
      if (args.queries == 1) return launch_even<kDim, 1, groups()>(args, stream);
    return launch_even<kDim, kBlockQueries, groups()>(args, stream);
  });
}
template <int kDim>
bool launch_mixed(const KernelArgs& args, cudaStream_t stream) {
  return by_groups<kDim>(args,
                         [&](auto groups) { return launch_mixed<kDim, groups()>(args, stream); });
}

}  // namespace kvx::gpu::fused
