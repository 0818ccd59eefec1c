#include <algorithm>
#include <vector>

#include "gpu/bench/context_rows.h"
#include "gpu/common/check.h"
#include "gpu/common/ieee.cuh"

namespace kvx::gpu {
namespace {

__global__ void repeat_kernel(const float* block, int64_t block_values, uint16_t* out,
                              int64_t values) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < values; i += step)
    out[i] = f16_encode(block[i % block_values]);
}

void repeat(const std::vector<float>& block, const DeviceArray<uint16_t>& out,
            cudaStream_t stream) {
  DeviceArray<float> on_device(std::ssize(block));
  on_device.upload(block, 0, stream);
  repeat_kernel<<<1056, 256, 0, stream>>>(on_device.get(), on_device.count(), out.get(),
                                          out.count());
  check_launch("repeat_kernel");
  check(cudaStreamSynchronize(stream), "rows of a context");
}

}  // namespace

ContextRows::ContextRows(const BenchInputs& inputs, int64_t row_values, int64_t pass_rows,
                         int64_t bytes, cudaStream_t stream)
    : slot_values_(pass_rows * row_values) {
  const int64_t slot_bytes = 2 * 2 * slot_values_;  // K and V
  slots_ = std::max<int64_t>(1, (bytes + slot_bytes - 1) / slot_bytes);
  k_ = DeviceArray<uint16_t>(slots_ * slot_values_);
  v_ = DeviceArray<uint16_t>(slots_ * slot_values_);
  repeat(inputs.k, k_, stream);
  repeat(inputs.v, v_, stream);
}

}  // namespace kvx::gpu
