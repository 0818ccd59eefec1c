// What an engine will take of device memory, before it takes any.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/cache/pool.h"
#include "gpu/engine/device_model.h"
#include "gpu/registry.h"

namespace kvx::gpu {

struct MemoryPlan {
  std::vector<CacheConfig> layers;
  PoolLimits pool;
  int64_t pass_rows = 0;   // tokens of a pass
  int64_t logit_rows = 0;  // rows of logits at a time
  int64_t scratch_floats = 0;
};

// Throws an environment Error naming the memory needed and free, and the batch that fits, where it
// does not fit; a usage Error where the scheme has no kernels.
MemoryPlan plan_memory(const DeviceModel& model, const Descriptor& scheme,
                       const EngineSettings& settings);

// Scratch of the products of `rows` rows, of their logits, and of attention in a pass within
// `bounds`.
int64_t scratch_floats(const DeviceModel& model, const SchemeKernels& kernels,
                       const CacheShape& shape, int64_t rows, int64_t logit_rows,
                       const Pass& bounds);

}  // namespace kvx::gpu
