// The kernels behind matmul(): what they take, and how weights lie in memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gpu/engine/matmul.h"

namespace kvx::gpu {

// Terms of a dot product that one chain of fma adds (ieee.md, 2.1).
inline constexpr int kDotBlock = 512;
// k of stored weights is padded with zeros to a multiple of this.
inline constexpr int kWeightPad = 64;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Consecutive k of one output that lie side by side, 16 bytes. W is stored as
// [padded k / width][n][width].
__host__ __device__ constexpr int vector_width(WeightType type) {
  return type == WeightType::kF32 ? 4 : 8;
}

// A MatmulArgs as kernels take it.
struct Product {
  const float* x;
  int64_t x_stride;
  const uint4* w;
  float* y;
  int64_t y_stride;
  const float* bias;
  const float* residual;
  float* parts;  // results of blocks [ceil(k / 512)][m][n], where blocks are computed apart
  int m, n, k;
};

// Rows of x that a warp of the kernel for few rows holds at most.
inline constexpr int kFewRows = 8;
// One chain a thread, blocks of k over the warps of a thread block: weights stream from memory.
void launch_few_rows(const Product& p, WeightType type, int processors, cudaStream_t stream);

// Blocks of k as a whole in shared memory, over the warps of a thread block and the thread blocks
// of a cluster; row_warps warps compute `rows` rows each (1, 2 or 4), 32 columns a thread block.
struct StagedPlan {
  int rows = 1, row_warps = 1, k_warps = 1, cluster = 1;
  double cycles = 0;  // estimated
};
// Whether shared memory and threads suffice and every block of k has a warp.
bool staged_fits(const StagedPlan& plan, int64_t k, WeightType type);
// The plan of the fewest estimated cycles; 1e300 where none fits.
StagedPlan plan_staged(int64_t m, int64_t n, int64_t k, WeightType type, int processors);
void launch_staged(const Product& p, WeightType type, const StagedPlan& plan, cudaStream_t stream);

// Tiles of outputs in shared memory and registers.
enum class TileSize : uint8_t { k16x128, k32x128, k64x64, k128x128 };
// With `apart` every block of k is computed by its own thread blocks into p.parts, which
// launch_combine adds in order.
void launch_tiles(const Product& p, WeightType type, TileSize size, bool apart,
                  cudaStream_t stream);
void launch_combine(const Product& p, cudaStream_t stream);

}  // namespace kvx::gpu
