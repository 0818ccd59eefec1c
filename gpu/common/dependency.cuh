// Order between a kernel and the one in front of it in the stream (programmatic dependent launch,
// successor.cuh).
#pragma once

namespace kvx::gpu {

// All kernels before this one have ended and what they wrote is seen.
__device__ inline void wait_for_predecessors() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
// The next kernel may begin once all thread blocks have come here: after wait_for_predecessors(),
// so that two kernels at most are under way.
__device__ inline void let_successor_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace kvx::gpu
