#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_128(const KernelArgs& args, cudaStream_t stream) {
  return args.queries == 1 ? launch<128, 1>(args, stream)
                           : launch<128, kBlockQueries>(args, stream);
}

}  // namespace kvx::gpu::fused
