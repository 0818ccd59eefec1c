// The kernels of fused attention by shape, each family in a file of its own.
#pragma once

#include "gpu/fused/plan.h"

namespace kvx::gpu::fused {

void launch_64(const KernelArgs& args, cudaStream_t stream);
void launch_128(const KernelArgs& args, cudaStream_t stream);
void launch_any(const KernelArgs& args, cudaStream_t stream);

}  // namespace kvx::gpu::fused
