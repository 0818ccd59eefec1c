// The kernels of prefill attention by shape, each family in a file of its own.
#pragma once

#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

// KernelArgs::part_rows of blocks that take all rows.
inline constexpr int32_t kAllRows = 1 << 30;

// Attention of many queries (prefill_kernel.cuh), of shapes with a fast path, head dim 128.
void prefill_128_tokens(const KernelArgs& args, cudaStream_t stream);
void prefill_128_channels(const KernelArgs& args, cudaStream_t stream);

}  // namespace kvx::gpu::fused
