#include "gpu/fused/launch.cuh"

namespace kvx::gpu::fused {

bool launch_64(const KernelArgs& args, cudaStream_t stream) {
  return args.queries == 1 ? launch<64, 1>(args, stream) : launch<64, kBlockQueries>(args, stream);
}

}  // namespace kvx::gpu::fused
