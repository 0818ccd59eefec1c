#include "gpu/fused/prefill_launch.cuh"

namespace kvx::gpu::fused {

void prefill_128_channels(const KernelArgs& args, cudaStream_t stream) {
  switch (args.side[0].sets) {
    case 1:
      return launch_prefill<128, false, 1>(args, stream);
    case 2:
      return launch_prefill<128, false, 2>(args, stream);
    default:
      return launch_prefill<128, false, 4>(args, stream);
  }
}

}  // namespace kvx::gpu::fused
