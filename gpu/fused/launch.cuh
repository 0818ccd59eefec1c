// The launch of a kernel by its shape.
#pragma once

#include <algorithm>

#include "gpu/fused/kernel.cuh"
#include "gpu/fused/launch.h"

namespace kvx::gpu::fused {

template <int kDim, int kQueries, int kGroups>
void launch(const KernelArgs& args, cudaStream_t stream) {
  const SharedPlan plan = kDim == 0 ? plan_plain(args) : plan_fast(args, kQueries);
  const auto kernel = fused_kernel<kDim, kQueries, kGroups>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes),
        "shared memory of fused_kernel");
  const dim3 grid(static_cast<unsigned>(std::max(args.parts, 1) * args.tiles),
                  static_cast<unsigned>(args.attend.view[0].shape.kv_heads),
                  static_cast<unsigned>(args.attend.pass.span_count));
  launch_successor("fused_kernel", kernel,
                   {.grid = grid,
                    .block = dim3(static_cast<unsigned>(plan.warp_count) * 32),
                    .shared_bytes = static_cast<size_t>(plan.bytes),
                    .stream = stream},
                   args, plan);
}

template <int kDim, int kQueries>
void launch(const KernelArgs& args, cudaStream_t stream) {
  switch (args.part.groups) {
    case 1:
      return launch<kDim, kQueries, 1>(args, stream);
    case 2:
      return launch<kDim, kQueries, 2>(args, stream);
    default:
      if constexpr (kDim == 128) return launch<kDim, kQueries, 4>(args, stream);
  }
}

}  // namespace kvx::gpu::fused
