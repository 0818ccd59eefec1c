// What attention knows of some rows for one query: its maximum M and sums O, Z, L (fixed.md, steps
// 10 and 11).
#pragma once

#include "gpu/fused/numbers.cuh"

namespace kvx::gpu::fused {

// Floats of a part: O by channel, Z by V group, L, then M as an integer.
struct PartShape {
  int dim = 0, groups = 0;

  KVX_HD int sums() const { return dim + groups + 1; }
  KVX_HD int floats() const { return sums() + 1; }
  KVX_HD int mass() const { return dim + groups; }
  KVX_HD int maximum() const { return dim + groups + 1; }
};

// One of the sums of a part, folded with that of later parts.
struct Sum {
  int m = kNoMaximum;
  float x = 0.0f;

  // Step 11.
  __device__ void fold(int part_m, float part_x) {
    const int most = max(m, part_m);
    x = __fmaf_rn(part_x, power(part_m - most), __fmul_rn(x, power(m - most)));
    m = most;
  }
};

// Step 12, of a part's O, Z and L.
__device__ __forceinline__ float finish(float o, float z, float l) {
  return l == 0.0f ? 0.0f : __fadd_rn(__fdiv_rn(__fadd_rn(o, z), l), 0.0f);
}

}  // namespace kvx::gpu::fused
