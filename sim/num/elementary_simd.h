// The recipes of elementary.h on vectors (ieee.md, section 1), equal to the scalar ones lane by
// lane. Only for files compiled once per instruction set.
#pragma once

#include "sim/num/simd.h"

namespace kvx::num::KVX_ISA {

// Steps 3 and 4 of 1.1: 2^f with the exponent moved by the integer in the low bits of t; |f| <=
// 0.5.
inline F32 scaled_exp2(F32 f, F32 t) {
  F32 p = F32::all(0x1.41fbbap-13f);
  p = fma(p, f, F32::all(0x1.5f3e52p-10f));
  p = fma(p, f, F32::all(0x1.3b2d4ap-7f));
  p = fma(p, f, F32::all(0x1.c6aef6p-5f));
  p = fma(p, f, F32::all(0x1.ebfbd8p-3f));
  p = fma(p, f, F32::all(0x1.62e43p-1f));
  p = fma(p, f, F32::all(1.0f));
  return F32::add_exponent(p, t);
}

// exp2 of x < 128 that is not NaN.
inline F32 exp2_not_above(F32 x) {
  const F32 magic = F32::all(0x1.8p+23f);
  const F32 t = x + magic;
  const F32 n = t - magic;
  return F32::select(less(x, F32::all(-126.0f)), F32::zero(), scaled_exp2(x - n, t));
}

// exp of x <= 0x1.62e42ep+6 that is not NaN.
inline F32 exp_not_above(F32 x) {
  const F32 magic = F32::all(0x1.8p+23f);
  const F32 log2_e = F32::all(0x1.715476p+0f);
  const F32 t = fma(x, log2_e, magic);
  const F32 n = t - magic;
  F32 f = fma(x, log2_e, -n);
  f = fma(x, F32::all(0x1.4ae0cp-26f), f);
  return F32::select(less(x, F32::all(-0x1.5d589ep+6f)), F32::zero(), scaled_exp2(f, t));
}

// x + infinity is the result above the range (+inf) and of NaN (NaN).
inline F32 exp2(F32 x) {
  return F32::select(less(x, F32::all(128.0f)), exp2_not_above(x), x + F32::all(__builtin_inff()));
}

inline F32 exp(F32 x) {
  return F32::select(less_equal(x, F32::all(0x1.62e42ep+6f)), exp_not_above(x),
                     x + F32::all(__builtin_inff()));
}

inline F32 silu(F32 x) { return x / (F32::all(1.0f) + exp(-x)); }

// 1.5: one turn is 2^32.
inline void sincos_phase(U32 phase, F32& sin, F32& cos) {
  const U32 quadrant = (phase + U32::all(0x20000000u)).right<30>();
  const F32 t = (phase - quadrant.left<30>()).to_f32() * F32::all(0x1p-32f);
  const F32 z = t * t;
  F32 p = F32::all(-0x1.2d9302p+6f);
  p = fma(p, z, F32::all(0x1.465e92p+6f));
  p = fma(p, z, F32::all(-0x1.4abbc4p+5f));
  p = fma(p, z, F32::all(0x1.921fb6p+2f));
  const F32 s = t * p;
  F32 q = F32::all(0x1.d9f7bcp+5f);
  q = fma(q, z, F32::all(-0x1.55c666p+6f));
  q = fma(q, z, F32::all(0x1.03c1d6p+6f));
  q = fma(q, z, F32::all(-0x1.3bd3ccp+4f));
  const F32 c = fma(z, q, F32::all(1.0f));
  // Odd quadrants exchange the two; sin is negative in quadrants 2 and 3, cos in 1 and 2.
  const F32::Mask odd = quadrant.left<31>().high_bit();
  const U32 sign = U32::all(0x80000000u);
  sin = (quadrant.left<30>() & sign).flip(F32::select(odd, c, s));
  cos = ((quadrant + U32::all(1)).left<30>() & sign).flip(F32::select(odd, s, c));
}

}  // namespace kvx::num::KVX_ISA
