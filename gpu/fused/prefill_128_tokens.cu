#include "gpu/fused/prefill_launch.cuh"

namespace kvx::gpu::fused {

void prefill_128_tokens(const KernelArgs& args, cudaStream_t stream) {
  return args.side[0].sets == 1 ? launch_prefill<128, true, 1>(args, stream)
                                : launch_prefill<128, true, 4>(args, stream);
}

}  // namespace kvx::gpu::fused
