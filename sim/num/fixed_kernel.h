// The vectorised loops behind fixed::attend: one table per instruction set. The one of avx512 wants
// AVX512-VNNI too. Every function equals the step of fixed.md it names, bit for bit.
#pragma once

#include <cstdint>

namespace kvx::num::fixed {

struct ZeroPart {
  int ez;
  int32_t zi;
};

struct Kernels {
  // Step 1. q: [n], n a multiple of 32; scale: [n] or nullptr for ones; y: [n]. Returns e.
  int (*query_digits)(const float* q, const float* scale, int n, int16_t* y);
  // Step 2, before the product with c. zero: [n] or nullptr for ones.
  float (*zero_sum)(const float* q, const float* zero, int n);
  // sums_r = sum over j of codes_rj * y_j; codes: rows `stride` apart, n a multiple of 32.
  void (*dots)(const uint8_t* codes, int64_t stride, int rows, const int16_t* y, int n,
               int32_t* sums);
  // Step 3c before the product with c. rows: [count] pointers to [n] keys.
  void (*exact_dots)(const float* const* rows, int count, const float* q, int n, float* sums);
  // Steps 3 (the clamp), 4 and 5. x, p: [kTile]; x is -inf for rows not visible. Returns m.
  int (*weights)(const float* x, float* p, int32_t* l);
  // Step 6. digits: [kTile], P - 32768. Returns eu.
  int (*value_digits)(const float* p, const float* scale, int16_t* digits);
  // Step 7.
  ZeroPart (*zero_part)(const float* p, const float* zero);
  // Codes of rows 2i and 2i + 1 side by side: pairs[i][j] = code of row 2i + (code of row 2i + 1) *
  // 2^16, channels 0 .. 31. rows: [kTile] pointers.
  void (*pair_rows)(const uint8_t* const* rows, int channel, uint32_t* pairs);
  // Step 8 for 32 channels, without 32768 times the sum of the codes.
  void (*value_sums)(const uint32_t* pairs, const int16_t* digits, int32_t* sums);
  // Step 9. rows: [count] pointers to [n] values, p: [count]; o: [n].
  void (*exact_values)(const float* const* rows, const float* p, int count, int n, float* o);
};

inline constexpr int kPairChannels = 32;

// The table of active_isa(); that of AVX2 on a machine without AVX512-VNNI.
const Kernels& kernels();

}  // namespace kvx::num::fixed

namespace kvx::num::avx2 {
extern const fixed::Kernels kFixedKernels;
}
namespace kvx::num::avx512 {
extern const fixed::Kernels kFixedKernels;
}
