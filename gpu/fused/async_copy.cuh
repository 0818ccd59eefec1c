// Copies from global into shared memory that go on while the thread does other work.
#pragma once

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

// 16 bytes, both addresses multiples of 16.
__device__ __forceinline__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from))
               : "memory");
}
// All of the thread's are there; for other threads after a barrier.
__device__ __forceinline__ void wait_for_own_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace kvx::gpu::fused
