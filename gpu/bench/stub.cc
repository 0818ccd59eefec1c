#include "gpu/bench/registry.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::gpu {

DeviceInfo device_info() { throw environment_error(unavailable()); }
MemoryRates memory_rates(int) { throw environment_error(unavailable()); }
std::unique_ptr<LayerBench> make_layer_bench(const Descriptor&, const CacheConfig&,
                                             const BenchShape&, const BenchInputs&) {
  throw environment_error(unavailable());
}

}  // namespace kvx::gpu
