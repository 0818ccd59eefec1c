#include <string>

#include "gpu/common/memory.h"

namespace kvx::gpu {

void* device_allocate(int64_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw environment_error("CUDA: device memory: " + std::to_string(bytes >> 20) +
                            " MiB needed, " + std::to_string(device_memory().first >> 20) +
                            " MiB free");
  }
  check(error, "device memory");
  return data;
}

void device_free(void* data) noexcept { cudaFree(data); }

std::pair<int64_t, int64_t> device_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "device memory");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

}  // namespace kvx::gpu
