// Timing on the device, as the driver sees it. Built with CUDA, or as a stub: then everything that
// needs a device throws an environment Error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/api/descriptor.h"
#include "sim/api/layer_bench.h"

namespace kvx::gpu {

struct DeviceInfo {
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string capability;  // "9.0"
  int64_t processors = 0;
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
  int64_t driver = 0, runtime = 0;  // CUDA versions: 13000
};
DeviceInfo device_info();

// Bytes per second, by sample: of a kernel that reads and keeps nothing, and of a copy within
// device memory (bytes read and written, both), each over more than 1 GiB where that is free.
struct MemoryRates {
  std::vector<double> read, copy;
  int64_t bytes = 0;  // that one call reads
};
MemoryRates memory_rates(int samples);

// One layer of device caches. Calls are graphs over distinct caches. Throws a usage Error where the
// scheme has no kernels, or descriptor and shape do not fit; an environment Error naming the memory
// needed and free. config.shape is taken from `shape`.
std::unique_ptr<LayerBench> make_layer_bench(const Descriptor& descriptor,
                                             const CacheConfig& config, const BenchShape& shape,
                                             const BenchInputs& inputs);

}  // namespace kvx::gpu
