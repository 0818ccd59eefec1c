#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_128_mixed(const KernelArgs& args, cudaStream_t stream) {
  return launch_mixed<128>(args, stream);
}

}  // namespace kvx::gpu::fused
