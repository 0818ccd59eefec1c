// Sums and maxima over 128 lanes (ieee.md, 2.2 and 2.3) on the device: lane j adds elements j, j +
// 128, ... and what the lanes hold is joined here.
#pragma once

#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

inline constexpr int kLanes = 128;

__device__ inline float add_rn(float a, float b) { return __fadd_rn(a, b); }
__device__ inline double add_rn(double a, double b) { return __dadd_rn(a, b); }

// Steps h = 64 .. 1 of 2.2: `a` holds lanes l, l + 32, l + 64, l + 96 in lane l of a warp. Every
// lane gets the sum.
template <class Float>
__device__ inline Float tree(const Float (&a)[4]) {
  Float sum = add_rn(add_rn(a[0], a[2]), add_rn(a[1], a[3]));
  for (int h = 16; h >= 1; h /= 2) sum = add_rn(sum, __shfl_xor_sync(~0u, sum, h));
  return sum;
}

// In a block of kLanes threads, a thread one lane; `shared` [kLanes]. Every thread gets the sum.
template <class Float>
__device__ inline Float block_sum(Float a, Float* shared) {
  __syncthreads();
  shared[threadIdx.x] = a;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const Float four[4] = {shared[lane], shared[lane + 32], shared[lane + 64], shared[lane + 96]};
  return tree(four);
}

// The same for the greatest: NaN if any is, never -0.
__device__ inline float block_max(float a, float* shared) {
  __syncthreads();
  shared[threadIdx.x] = a;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  float most = max_nan(max_nan(shared[lane], shared[lane + 32]),
                       max_nan(shared[lane + 64], shared[lane + 96]));
  for (int h = 16; h >= 1; h /= 2) most = max_nan(most, __shfl_xor_sync(~0u, most, h));
  return __fadd_rn(most, 0.0f);
}

// r of 2.4 from the sum of squares of `width` values.
__device__ inline float norm_factor(float squares, int64_t width, float eps) {
  const float mean = __fdiv_rn(squares, static_cast<float>(width));
  return rsqrt_ieee(__fadd_rn(mean, eps));
}

}  // namespace kvx::gpu
