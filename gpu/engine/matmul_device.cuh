// Device functions that the kernels of a matrix product share.
#pragma once

#include <cstdint>

#include "gpu/common/ieee.cuh"
#include "gpu/engine/matmul_kernels.h"

namespace kvx::gpu {

__host__ __device__ constexpr int round_up(int a, int b) { return (a + b - 1) / b * b; }

// One stored vector, widened.
template <WeightType kType>
__device__ inline void widen(const uint4& vector, float (&w)[vector_width(kType)]) {
  const uint32_t word[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (kType == WeightType::kF32) {
      w[i] = __uint_as_float(word[i]);
    } else if constexpr (kType == WeightType::kBf16) {
      w[2 * i] = __uint_as_float(word[i] << 16);
      w[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
    } else {
      w[2 * i] = f16_decode(static_cast<uint16_t>(word[i]));
      w[2 * i + 1] = f16_decode(static_cast<uint16_t>(word[i] >> 16));
    }
  }
}

// What follows the sum of the blocks. The sum + 0.0 is not -0, nor is what comes of it: a bias or a
// residual of +0 stands for none.
__device__ inline float finish(float total, float bias, float residual) {
  return __fadd_rn(residual, __fadd_rn(__fadd_rn(total, 0.0f), bias));
}

// Output `at` of row-major y, of column `column`.
__device__ inline void write_output(const Product& p, float total, int64_t at, int column) {
  p.y[at] = finish(total, p.bias == nullptr ? 0.0f : p.bias[column],
                   p.residual == nullptr ? 0.0f : p.residual[at]);
}

}  // namespace kvx::gpu
