#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_any(const KernelArgs& args, cudaStream_t stream) {
  return args.queries == 1 ? launch<0, 1, 1, 0, 0>(args, stream)
                           : launch<0, kBlockQueries, 1, 0, 0>(args, stream);
}

}  // namespace kvx::gpu::fused
