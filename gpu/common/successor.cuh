// Kernels that begin before their predecessor in the stream has ended (programmatic dependent
// launch). Such a kernel waits in every thread, before it touches anything that another kernel
// writes or before it writes itself; what it fetches earlier must be constant. On the stream it
// follows a kernel directly.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "gpu/common/check.h"
#include "gpu/common/dependency.cuh"

namespace kvx::gpu {

struct SuccessorLaunch {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  unsigned cluster = 1;  // thread blocks side by side in x
  bool early = true;     // may begin before its predecessor has ended
};
// Launches a kernel that calls wait_for_predecessors(). `name` is for errors.
template <class... Params, class... Args>
void launch_successor(const char* name, void (*kernel)(Params...), const SuccessorLaunch& launch,
                      Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = launch.early ? 1 : 0;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = launch.cluster;
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  config.attrs = attributes;
  config.numAttrs = launch.cluster > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), name);
}

}  // namespace kvx::gpu
