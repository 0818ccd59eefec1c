// A tile of outputs of the products that attention's backward pass is made of: chains of fma over k
// in blocks, blocks added in ascending order (ieee.md 2.1; loss_gradient.md, "by 128").
#pragma once

#include <cstdint>

#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

inline constexpr int kTile = 64;          // outputs a side of a thread block's tile
inline constexpr int kTileThreads = 256;  // 4 x 4 outputs each
inline constexpr int kStep = 16;          // of k at a time

// One factor: element (outer, k) at data[outer * stride + k], or, where k is the slow index,
// data[k * stride + outer]. Vectors of 4 along the fast index are aligned to 16 bytes; outers, and
// k where it is the fast index, may be read up to the next multiple of 4.
struct Factor {
  const float* data;
  int64_t stride;
  int outers;
};

template <bool kAlongK>
__device__ inline float4 load_vector(const Factor& f, int outer0, int k0, int k_end) {
  const int thread = static_cast<int>(threadIdx.x);
  const int outer = outer0 + (kAlongK ? thread / 4 : thread % 16 * 4);
  const int k = k0 + (kAlongK ? thread % 4 * 4 : thread / 16);
  if (outer >= f.outers || k >= k_end) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  return *reinterpret_cast<const float4*>(f.data +
                                          (kAlongK ? outer * f.stride + k : k * f.stride + outer));
}

// Columns lie in different banks.
struct alignas(16) Stage {
  float at[kStep][kTile + 4];
};
template <bool kAlongK>
__device__ inline void store_vector(const float4& v, Stage& to) {
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kAlongK) {
    const int outer = thread / 4, k = thread % 4 * 4;
    to.at[k][outer] = v.x;
    to.at[k + 1][outer] = v.y;
    to.at[k + 2][outer] = v.z;
    to.at[k + 3][outer] = v.w;
  } else {
    *reinterpret_cast<float4*>(&to.at[thread / 16][thread % 16 * 4]) = v;
  }
}

// First row and column of the thread's outputs within the tile.
__device__ inline int thread_row() { return static_cast<int>(threadIdx.x) / 16 * 4; }
__device__ inline int thread_column() { return static_cast<int>(threadIdx.x) % 16 * 4; }

// total [4][4] += a b^T over k in [first, end), blocks of `block` ending at its multiples; `first`
// and `block` are multiples of kStep. What is past the end or the outers counts as zeros.
template <bool kAAlongK, bool kBAlongK>
__device__ void add_products(const Factor& a, const Factor& b, int row0, int column0, int first,
                             int end, int block, float (&total)[4][4]) {
  __shared__ Stage rows;
  __shared__ Stage columns;
  float4 next_a = load_vector<kAAlongK>(a, row0, first, end);
  float4 next_b = load_vector<kBAlongK>(b, column0, first, end);
  float sum[4][4] = {};
  for (int k0 = first; k0 < end; k0 += kStep) {
    __syncthreads();
    store_vector<kAAlongK>(next_a, rows);
    store_vector<kBAlongK>(next_b, columns);
    __syncthreads();
    next_a = load_vector<kAAlongK>(a, row0, k0 + kStep, end);
    next_b = load_vector<kBAlongK>(b, column0, k0 + kStep, end);
#pragma unroll
    for (int k = 0; k < kStep; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&rows.at[k][thread_row()]);
      const float4 y = *reinterpret_cast<const float4*>(&columns.at[k][thread_column()]);
      const float p[4] = {x.x, x.y, x.z, x.w}, q[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = __fmaf_rn(p[i], q[j], sum[i][j]);
    }
    if ((k0 + kStep) % block != 0 && k0 + kStep < end) continue;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        total[i][j] = __fadd_rn(total[i][j], sum[i][j]);
        sum[i][j] = 0.0f;
      }
    }
  }
}

}  // namespace kvx::gpu
