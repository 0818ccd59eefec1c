// Bulk copies from global into shared memory, counted by barriers there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvx::gpu::fused {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// A value that is the same in all lanes of a whole warp: so the compiler knows it. What bulk copies
// depend on, branches as well, must be known so, else each becomes a loop over lanes.
__device__ __forceinline__ int uniform(int x) { return __shfl_sync(~0u, x, 0); }

// One lane of a whole warp.
__device__ __forceinline__ bool elected() {
  uint32_t r;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(r));
  return r != 0;
}

// A barrier of copies, again and again: its phases have parities 0, 1, 0, .. Each waits for one
// expect() and what that says.
using CopyBarrier = uint64_t;

// By one thread; then others may use the `count` barriers after a barrier of their own.
__device__ __forceinline__ void init_copies(CopyBarrier* barriers, int count) {
  for (int i = 0; i < count; ++i)
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barriers + i))
                 : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// The phase waits for `bytes`, which copy() brings; by the thread that then calls that.
__device__ __forceinline__ void expect(CopyBarrier* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
// `bytes`, and both addresses, are multiples of 16; of data that is read once.
__device__ __forceinline__ void copy(void* to, const void* from, int bytes, CopyBarrier* barrier) {
  constexpr uint64_t kEvictFirst = 0x12F0000000000000;
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier)),
      "l"(kEvictFirst)
      : "memory");
}
// The phase of a parity has ended, and its bytes are seen.
__device__ __forceinline__ void wait_for_copies(CopyBarrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace kvx::gpu::fused
