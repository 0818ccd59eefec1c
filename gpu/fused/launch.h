// The kernels of fused attention by shape, each family in a file of its own.
#pragma once

#include <type_traits>

#include "gpu/common/successor.cuh"
#include "gpu/fused/plan.h"

namespace kvx::gpu::fused {

// Whether there are kernels of one query a block for so many V groups of a head.
constexpr bool has_one_query(int groups) { return groups != 2; }

// Each returns whether parts lie in scratch, for another kernel to fold. Mixed: K and V of two
// widths of 2, 4 and 8 bits, kBlockQueries queries a block.
bool launch_64(const KernelArgs& args, cudaStream_t stream);
bool launch_64_mixed(const KernelArgs& args, cudaStream_t stream);
bool launch_128(const KernelArgs& args, cudaStream_t stream);
bool launch_128_mixed(const KernelArgs& args, cudaStream_t stream);
bool launch_any(const KernelArgs& args, cudaStream_t stream);

// Calls f with the number of V groups of a head, 1, 2 or as many as are of 32 channels, as a type.
template <int kDim>
auto by_groups(const KernelArgs& args, auto&& f) {
  switch (args.part.groups) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    default:
      return f(std::integral_constant<int, kDim / 32>());
  }
}

// Clusters of a launch that can be under way at once.
int64_t most_clusters(const void* kernel, const SuccessorLaunch& launch);

}  // namespace kvx::gpu::fused
