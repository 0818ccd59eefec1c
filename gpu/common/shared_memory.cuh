// Shared memory of a thread block.
#pragma once

namespace kvx::gpu {

// The dynamic part, as many bytes as the launch asked for.
template <class T>
__device__ inline T* dynamic_shared() {
  extern __shared__ float4 dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

// A variable of the block, the same for every call with this type; uninitialised.
template <class T>
__device__ inline T& shared_variable() {
  __shared__ T variable;
  return variable;
}

}  // namespace kvx::gpu
