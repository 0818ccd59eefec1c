#include <cuda_runtime.h>

#include "gpu/registry.h"

namespace kvx::gpu {

bool built() { return true; }

bool has_kernel(std::string_view) { return false; }

std::string device_report() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess)
    return std::string("no device: ") + cudaGetErrorString(error);
  std::string report;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    if (i > 0) report += "\n";
    report += std::string(properties.name) + ", compute capability " +
              std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", " +
              std::to_string(properties.totalGlobalMem >> 20) + " MiB";
  }
  return report;
}

}  // namespace kvx::gpu
