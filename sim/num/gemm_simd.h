// The register tile of the matrix product: R rows times kPanel columns, one chain of fma per
// output.
#pragma once

#include "sim/num/simd.h"

namespace kvx::num::KVX_ISA {

// Rows of the largest tile: as many accumulators as the registers hold beside the operands.
inline constexpr int kTileRows = F32::kLanes == 16 ? 12 : 6;
// Columns of a register tile; a panel of 32 is one or two of them.
inline constexpr int kTileColumns = 2 * F32::kLanes;

inline F32 load_weight(const float* p) { return F32::load(p); }
struct F16Bits {
  uint16_t bits;
};
struct Bf16Bits {
  uint16_t bits;
};
inline F32 load_weight(const F16Bits* p) { return F32::load_f16(&p->bits); }
inline F32 load_weight(const Bf16Bits* p) { return F32::load_bf16(&p->bits); }

// acc[r][c] = fma(a[r][k], b[k][c], acc[r][c]), k ascending. a[r][k] at a + r*kRowStride +
// k*kStepStride; b[k] at b + k*ldb.
template <int R, int kRowStride, int kStepStride, class W>
inline __attribute__((always_inline)) void multiply_tile(const float* a, const W* b, int64_t ldb,
                                                         int64_t steps, F32 (&acc)[R][2]) {
  for (int64_t k = 0; k < steps; ++k) {
    const F32 b0 = load_weight(b);
    const F32 b1 = load_weight(b + F32::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F32 x = F32::all(a[r * kRowStride]);
      acc[r][0] = fma(x, b0, acc[r][0]);
      acc[r][1] = fma(x, b1, acc[r][1]);
    }
    a += kStepStride;
    b += ldb;
  }
}

// Calls body with an integral constant R == rows, 1 <= rows <= kTileRows.
template <int R>
struct RowCount {
  static constexpr int kRows = R;
};
template <class Body>
inline __attribute__((always_inline)) void with_rows(int rows, const Body& body) {
  switch (rows) {
    case 1:
      return body(RowCount<1>{});
    case 2:
      return body(RowCount<2>{});
    case 3:
      return body(RowCount<3>{});
    case 4:
      return body(RowCount<4>{});
    case 5:
      return body(RowCount<5>{});
    case 6:
      return body(RowCount<6>{});
#if defined(__AVX512F__)
    case 7:
      return body(RowCount<7>{});
    case 8:
      return body(RowCount<8>{});
    case 9:
      return body(RowCount<9>{});
    case 10:
      return body(RowCount<10>{});
    case 11:
      return body(RowCount<11>{});
    case 12:
      return body(RowCount<12>{});
#endif
  }
}

}  // namespace kvx::num::KVX_ISA
