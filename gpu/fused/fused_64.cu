#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_64(const KernelArgs& args, cudaStream_t stream) {
  return launch_even<64>(args, stream);
}

}  // namespace kvx::gpu::fused
