// gpu/fused/cluster_memory.cuh on the emulated device.
#pragma once

#include <cstring>

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

inline void sync_cluster(emulated::Place place = emulated::Place::here()) {
  emulated::meet_cluster("sync_cluster", place);
}
inline void leave_cluster(emulated::Place place = emulated::Place::here()) {
  emulated::meet_cluster("leave_cluster", place);
}
inline float load_remote(const float* local, int block) {
  emulated::shared_offset(local, sizeof(float));
  float x;
  std::memcpy(&x, emulated::in_block(local, block), sizeof x);
  return x;
}

}  // namespace kvx::gpu::fused
