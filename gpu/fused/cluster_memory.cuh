// What the thread blocks of a cluster share.
#pragma once

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

// All blocks of the cluster have come here, but those that have ended, and what they wrote is seen.
__device__ inline void sync_cluster() {
  asm volatile(
      "barrier.cluster.arrive;\n"
      "barrier.cluster.wait;" ::
          : "memory");
}
// The same of what they read.
__device__ inline void leave_cluster() {
  asm volatile(
      "barrier.cluster.arrive.relaxed;\n"
      "barrier.cluster.wait;" ::
          : "memory");
}
// What `local` points to in the shared memory of another block of the cluster.
__device__ inline float load_remote(const float* local, int block) {
  float x;
  asm volatile(
      "{\n"
      ".reg .b32 at;\n"
      "mapa.shared::cluster.u32 at, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [at];\n"
      "}"
      : "=f"(x)
      : "r"(shared_address(local)), "r"(block)
      : "memory");
  return x;
}

}  // namespace kvx::gpu::fused
