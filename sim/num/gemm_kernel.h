// Entry points of the twice-compiled matrix product.
#pragma once

#include <cstdint>

#include "sim/num/gemm.h"

namespace kvx::num {

struct GemmBlock {
  const float* a;  // packed tiles [tiles][k][tile rows]
  int64_t first_tile;
  int64_t last_tile;  // one past
  int64_t m;
  int64_t k;
  const void* w;  // first panel
  WeightType type;
  int64_t panels;
  int64_t columns;  // of y from the first panel on
  float* y;         // row 0, first column of the first panel
  int64_t stride;
};

// gemm_pack_tile: `rows` rows of k values to out [k][tile rows].
namespace avx2 {
int gemm_tile_rows();
void gemm_pack_tile(const float* x, int64_t stride, int rows, int64_t k, float* out);
void gemm_block(const GemmBlock& block);
}  // namespace avx2
namespace avx512 {
int gemm_tile_rows();
void gemm_pack_tile(const float* x, int64_t stride, int rows, int64_t k, float* out);
void gemm_block(const GemmBlock& block);
}  // namespace avx512

}  // namespace kvx::num
