// One kernel in place of those of gpu/fused/fused_128.cu, for versions with a planted bug.
#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_128(const KernelArgs& args, cudaStream_t stream) {
  return launch_even<128, kBlockQueries, 1>(args, stream);
}

}  // namespace kvx::gpu::fused
