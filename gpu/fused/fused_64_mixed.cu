#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_64_mixed(const KernelArgs& args, cudaStream_t stream) {
  return launch_mixed<64>(args, stream);
}

}  // namespace kvx::gpu::fused
