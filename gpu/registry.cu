#include <cuda_runtime.h>

#include "gpu/cache/layer_cache.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::gpu {

bool built() { return true; }

std::string unavailable() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("no device: ") + cudaGetErrorString(error);
  return count > 0 ? "" : "no device";
}

bool has_kernel(std::string_view scheme) {
#define KVX_SCHEME(name, ...) \
  if (scheme == #name) return true;
#define KVX_SCHEME_CPU(...)
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS
  return false;
}

std::string device_report() {
  if (const std::string reason = unavailable(); !reason.empty()) return reason;
  int count = 0;
  cudaGetDeviceCount(&count);
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

std::unique_ptr<LayerCache> make_cache(const Descriptor& descriptor, const CacheConfig& config) {
  if (const std::string reason = unavailable(); !reason.empty()) throw environment_error(reason);
  return std::make_unique<DeviceLayerCache>(descriptor, config);
}

}  // namespace kvx::gpu
