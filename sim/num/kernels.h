// The vectorised kernels behind elementary.h, reduce.h and likelihood.h: one table per instruction
// set. Arrays are dense, any length and alignment; out may be the same array as an input.
#pragma once

#include <cstdint>

namespace kvx::num {

struct Kernels {
  void (*exp2)(const float* x, int64_t n, float* out);
  void (*exp)(const float* x, int64_t n, float* out);
  void (*silu)(const float* x, int64_t n, float* out);
  void (*sincos_phase)(const uint32_t* phase, int64_t n, float* sin, float* cos);
  void (*exp_minus)(const float* x, float m, int64_t n, float* out);  // exp(x - m)
  void (*swiglu)(const float* g, const float* u, int64_t n, float* h);
  void (*scale)(const float* x, float r, const float* weight, int64_t n,
                float* y);  // (x * r) * weight
  void (*divide)(const float* x, float divisor, int64_t n, float* out);

  // ieee.md, 2.2 and 2.3.
  float (*sum)(const float* x, int64_t n);
  double (*sum64)(const double* x, int64_t n);
  float (*sum_squares)(const float* x, int64_t n);
  float (*max)(const float* x, int64_t n);
  int64_t (*argmax)(const float* x, int64_t n);

  // ieee.md, 2.6, for finite m = max z: S, and D and S.
  double (*sum_exp)(const float* z, float m, int64_t n);
  void (*divergence_sums)(const float* z, const float* w, float m, int64_t n, double* d, double* s);
};

namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}

// The table of active_isa().
const Kernels& kernels();

}  // namespace kvx::num
