// The other way through a model's matrices.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/engine/device_model.h"

namespace kvx::gpu {

// W^T of each matrix, in its stored type.
struct TransposedLayer {
  DeviceWeights q, k, v, o, gate, up, down;
};

struct TransposedModel {
  std::vector<TransposedLayer> layers;
  DeviceWeights head;  // [hidden][vocab]

  explicit TransposedModel(const DeviceModel& model);
  // Device bytes that the constructor takes.
  static int64_t bytes(const DeviceModel& model);
};

}  // namespace kvx::gpu
