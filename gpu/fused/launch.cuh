// The launch of a kernel by its shape.
#pragma once

#include <algorithm>

#include "gpu/common/processors.h"
#include "gpu/fused/kernel.cuh"
#include "gpu/fused/launch.h"

namespace kvx::gpu::fused {

template <int kDim, int kQueries, int kGroups>
bool launch(KernelArgs args, cudaStream_t stream) {
  const unsigned parts = static_cast<unsigned>(std::max(args.parts, 1));
  const dim3 grid(parts * static_cast<unsigned>(args.tiles),
                  static_cast<unsigned>(args.attend.view[0].shape.kv_heads),
                  static_cast<unsigned>(args.attend.pass.span_count));
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  const SharedPlan plan =
      kDim == 0 ? plan_plain(args) : plan_fast(args, kQueries, blocks <= processors());
  const auto kernel = fused_kernel<kDim, kQueries, kGroups>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes),
        "shared memory of fused_kernel");
  SuccessorLaunch launch{.grid = grid,
                         .block = dim3(static_cast<unsigned>(plan.warp_count) * 32),
                         .shared_bytes = static_cast<size_t>(plan.bytes),
                         .stream = stream,
                         .cluster = parts};
  args.cluster = args.parts == 1 ||
                 (args.parts > 1 && args.parts <= kMostCluster &&
                  most_clusters(reinterpret_cast<const void*>(kernel), launch) * parts >= blocks);
  if (!args.cluster) launch.cluster = 1;
  launch_successor("fused_kernel", kernel, launch, args, plan);
  return args.parts > 0 && !args.cluster;
}

template <int kDim, int kQueries>
bool launch(const KernelArgs& args, cudaStream_t stream) {
  constexpr int kMost = kDim == 128 ? 4 : 2;  // groups of 32
  switch (args.part.groups) {
    case 1:
      return launch<kDim, kQueries, 1>(args, stream);
    case 2:
      return launch<kDim, kQueries, 2>(args, stream);
    default:
      return launch<kDim, kQueries, kMost>(args, stream);
  }
}

}  // namespace kvx::gpu::fused
