// Copies from global into shared memory that go on while the thread does other work, in groups.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvx::gpu::fused {

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes, both addresses multiples of 16, of data that is read once.
__device__ inline void copy16(void* to, const void* from) {
  asm volatile(
      "{\n"
      ".reg .b64 once;\n"
      "createpolicy.fractional.L2::evict_first.b64 once;\n"
      "cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, once;\n"
      "}" ::"r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from))
      : "memory");
}
// Ends the thread's group of copies, which may be empty.
__device__ inline void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

inline constexpr int kMostPending = 3;
// Of the thread's groups all but the last `pending` are there; for other threads after a barrier.
__device__ inline void wait_for_copies(int pending) {
  switch (pending) {
    case 0:
      asm volatile("cp.async.wait_group 0;" ::: "memory");
      break;
    case 1:
      asm volatile("cp.async.wait_group 1;" ::: "memory");
      break;
    case 2:
      asm volatile("cp.async.wait_group 2;" ::: "memory");
      break;
    default:
      asm volatile("cp.async.wait_group 3;" ::: "memory");
  }
}

}  // namespace kvx::gpu::fused
