#include "gpu/fused/prefill_launch.cuh"

namespace kvx::gpu::fused {

void prefill_64(const KernelArgs& args, cudaStream_t stream) {
  const int sets = args.side[0].sets;
  if (args.attend.view[0].format.along_tokens)
    return sets == 1 ? launch_prefill<64, true, 1>(args, stream)
                     : launch_prefill<64, true, 4>(args, stream);
  return sets == 1 ? launch_prefill<64, false, 1>(args, stream)
                   : launch_prefill<64, false, 2>(args, stream);
}

}  // namespace kvx::gpu::fused
