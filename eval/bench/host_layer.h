// One layer of reference caches under load, on one thread of the CPU.
#pragma once

#include <memory>

#include "sim/api/layer_bench.h"

namespace kvx::bench {

// config.shape is taken from `shape`. A sample is one call; rows come in as binary32. Throws what
// making the cache throws.
std::unique_ptr<LayerBench> make_host_layer(const StoredCacheFactory& factory,
                                            const CacheConfig& config, const BenchShape& shape,
                                            const BenchInputs& inputs);

// Bytes per second, by sample (10 at most), of reading 128 MiB and of a copy of them (bytes read
// and written, both), on one thread.
struct HostRates {
  std::vector<double> read, copy;
};
HostRates host_rates(int samples);

}  // namespace kvx::bench
