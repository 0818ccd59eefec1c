#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_128(const KernelArgs& args, cudaStream_t stream) {
  return launch_even<128>(args, stream);
}

}  // namespace kvx::gpu::fused
