// The threads that seal one token together: a warp, or a whole block where a token has more values
// than a warp holds. All of them call everything.
#pragma once

#include <cstdint>

namespace kvx::gpu::kvquant {

inline constexpr int kMostWarps = 32;

template <bool kBlock>
class Team {
 public:
  // `shared`: of a block [kMostWarps], else unused.
  __device__ explicit Team(uint32_t* shared) : shared_(shared) {}

  __device__ int size() const { return kBlock ? static_cast<int>(blockDim.x) : 32; }
  __device__ int index() const {
    return kBlock ? static_cast<int>(threadIdx.x) : static_cast<int>(threadIdx.x) % 32;
  }

  __device__ uint32_t sum(uint32_t x) const {
    return whole(__reduce_add_sync(~0u, x), [](uint32_t a, uint32_t b) { return a + b; });
  }
  __device__ uint32_t max(uint32_t x) const {
    return whole(__reduce_max_sync(~0u, x), [](uint32_t a, uint32_t b) { return a > b ? a : b; });
  }
  __device__ uint32_t min(uint32_t x) const {
    return whole(__reduce_min_sync(~0u, x), [](uint32_t a, uint32_t b) { return a < b ? a : b; });
  }

  // Sum of the x of lower indices; `total` gets that of all.
  __device__ uint32_t sum_before(uint32_t x, uint32_t& total) const {
    uint32_t to_here = x;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int h = 1; h < 32; h *= 2) {
      const uint32_t below = __shfl_up_sync(~0u, to_here, h);
      if (lane >= h) to_here += below;
    }
    total = __shfl_sync(~0u, to_here, 31);
    uint32_t before = to_here - x;
    if constexpr (kBlock) {
      const int warp = static_cast<int>(threadIdx.x) / 32, warps = size() / 32;
      __syncthreads();
      if (lane == 0) shared_[warp] = total;
      __syncthreads();
      total = 0;
      for (int w = 0; w < warps; ++w) {
        if (w < warp) before += shared_[w];
        total += shared_[w];
      }
    }
    return before;
  }

 private:
  template <class Op>
  __device__ uint32_t whole(uint32_t of_warp, Op op) const {
    if constexpr (kBlock) {
      __syncthreads();
      if (threadIdx.x % 32 == 0) shared_[threadIdx.x / 32] = of_warp;
      __syncthreads();
      of_warp = shared_[0];
      for (int w = 1; w < size() / 32; ++w) of_warp = op(of_warp, shared_[w]);
    }
    return of_warp;
  }

  uint32_t* shared_;
};

}  // namespace kvx::gpu::kvquant
