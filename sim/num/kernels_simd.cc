#include "sim/num/elementary_simd.h"
#include "sim/num/kernels.h"
#include "sim/num/simd.h"

namespace kvx::num::KVX_ISA {
namespace {

constexpr int kLanes = F32::kLanes;
constexpr int kSumLanes = 128;  // ieee.md, 2.2

// out_i = f(x_i).
template <class Function>
inline void map(const float* x, int64_t n, float* out, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(F32::load(x + i)).store(out + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0) f(F32::load_first(x + i, rest)).store_first(out + i, rest);
}

// out_i = f(x_i, y_i).
template <class Function>
inline void map2(const float* x, const float* y, int64_t n, float* out, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(F32::load(x + i), F32::load(y + i)).store(out + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0)
    f(F32::load_first(x + i, rest), F32::load_first(y + i, rest)).store_first(out + i, rest);
}

void map_exp2(const float* x, int64_t n, float* out) {
  map(x, n, out, [](F32 v) { return exp2(v); });
}

void map_exp(const float* x, int64_t n, float* out) {
  map(x, n, out, [](F32 v) { return exp(v); });
}

void map_silu(const float* x, int64_t n, float* out) {
  map(x, n, out, [](F32 v) { return silu(v); });
}

void map_sincos_phase(const uint32_t* phase, int64_t n, float* sin, float* cos) {
  F32 s, c;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    sincos_phase(U32::load(phase + i), s, c);
    s.store(sin + i);
    c.store(cos + i);
  }
  const int rest = static_cast<int>(n - i);
  if (rest > 0) {
    sincos_phase(U32::load_first(phase + i, rest), s, c);
    s.store_first(sin + i, rest);
    c.store_first(cos + i, rest);
  }
}

void exp_minus(const float* x, float m, int64_t n, float* out) {
  map(x, n, out, [m](F32 v) { return exp(v - F32::all(m)); });
}

void swiglu(const float* g, const float* u, int64_t n, float* h) {
  map2(g, u, n, h, [](F32 a, F32 b) { return silu(a) * b; });
}

void scale(const float* x, float r, const float* weight, int64_t n, float* y) {
  map2(x, weight, n, y, [r](F32 a, F32 b) { return (a * F32::all(r)) * b; });
}

void divide(const float* x, float divisor, int64_t n, float* out) {
  map(x, n, out, [divisor](F32 v) { return v / F32::all(divisor); });
}

template <class T>
T tree(T* a) {
  for (int h = kSumLanes / 2; h >= 1; h /= 2)
    for (int j = 0; j < h; ++j) a[j] = a[j] + a[j + h];
  return a[0];
}

// The 128 lanes of 2.2 a few columns at a time: kVectors vectors of lanes walk down the rows of 128
// elements in registers. Lanes past the end of x are padded with +0, which is neutral.
template <class Vector, class T, class Add>
inline T lane_sum(const T* x, int64_t n, Add add) {
  constexpr int kVectors = 8;
  constexpr int kColumns = kVectors * Vector::kLanes;
  T lanes[kSumLanes];
  for (int column = 0; column < kSumLanes; column += kColumns) {
    Vector a[kVectors];
    for (Vector& v : a) v = Vector::zero();
    int64_t row = column;
    for (; row + kColumns <= n; row += kSumLanes)
      for (int j = 0; j < kVectors; ++j)
        a[j] = add(a[j], Vector::load(x + row + j * Vector::kLanes));
    for (int j = 0; j < kVectors; ++j) {
      const int64_t left = n - row - j * Vector::kLanes;
      if (left > 0)
        a[j] = add(a[j], Vector::load_first(
                             x + row + j * Vector::kLanes,
                             static_cast<int>(left < Vector::kLanes ? left : Vector::kLanes)));
      a[j].store(lanes + column + j * Vector::kLanes);
    }
  }
  return tree(lanes);
}

float sum(const float* x, int64_t n) {
  return lane_sum<F32>(x, n, [](F32 a, F32 v) { return a + v; });
}

double sum64(const double* x, int64_t n) {
  return lane_sum<F64>(x, n, [](F64 a, F64 v) { return a + v; });
}

float sum_squares(const float* x, int64_t n) {
  return lane_sum<F32>(x, n, [](F32 a, F32 v) { return fma(v, v, a); });
}

// The greatest number (-inf where there is none); `nan` tells whether there is a NaN.
inline float greatest(const float* x, int64_t n, bool* nan) {
  constexpr int kVectors = 4;
  const F32 lowest = F32::all(-__builtin_inff());
  F32 top[kVectors];
  for (F32& v : top) v = lowest;
  F32::Mask nans = is_nan(lowest);
  int64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
    F32 v[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      v[j] = F32::load(x + i + j * kLanes);
      top[j] = max_x86(v[j], top[j]);  // a NaN leaves top as it is
    }
    nans = F32::either(nans, F32::either(either_nan(v[0], v[1]), either_nan(v[2], v[3])));
  }
  for (; i < n; i += kLanes) {
    const int rest = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const F32 v = F32::select(F32::first(rest), F32::load_first(x + i, rest), lowest);
    top[0] = max_x86(v, top[0]);
    nans = F32::either(nans, is_nan(v));
  }
  *nan = F32::any(nans);
  return greatest_lane(max_x86(max_x86(top[0], top[1]), max_x86(top[2], top[3])));
}

float max(const float* x, int64_t n) {
  bool nan;
  const float top = greatest(x, n, &nan);
  return nan ? __builtin_nanf("") : top + 0.0f;
}

int64_t argmax(const float* x, int64_t n) {
  bool nan;
  const F32 top = F32::all(greatest(x, n, &nan));
  for (int64_t i = 0; i < n; i += kLanes) {
    const int rest = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const uint32_t here =
        F32::lane_bits(equal(F32::load_first(x + i, rest), top)) & ((1u << rest) - 1u);
    if (here != 0) return i + __builtin_ctz(here);
  }
  return -1;
}

// S and, where asked for, D of 2.6 for finite m >= z. Blocks of rows of 128 that stay in the
// first-level cache are walked down a few columns at a time, with the lanes of those columns in
// registers.
template <bool kDivergence>
inline void likelihood_sums(const float* z, const float* w, float m, int64_t n, double* d,
                            double* s) {
  constexpr int kVectors = 2;
  constexpr int kHalves = 2 * kVectors;
  constexpr int64_t kBlock = 32 * kSumLanes;
  const F32 top = F32::all(m);
  double lanes_s[kSumLanes] = {};
  double lanes_d[kSumLanes] = {};
  const int64_t whole = n - n % kSumLanes;
  for (int64_t block = 0; block < whole; block += kBlock) {
    const int64_t end = block + kBlock < whole ? block + kBlock : whole;
    for (int column = 0; column < kSumLanes; column += kVectors * kLanes) {
      F64 a[kHalves];
      F64 b[kHalves];
      for (int j = 0; j < kHalves; ++j) {
        a[j] = F64::load(lanes_s + column + j * F64::kLanes);
        b[j] = F64::load(lanes_d + column + j * F64::kLanes);
      }
      for (int64_t i = block + column; i < end; i += kSumLanes) {
        for (int j = 0; j < kVectors; ++j) {
          const F32 x = F32::load(z + i + j * kLanes);
          const F32 e = exp_not_above(x - top);
          const F64 low = F64::widen_low(e);
          const F64 high = F64::widen_high(e);
          a[2 * j] = a[2 * j] + low;
          a[2 * j + 1] = a[2 * j + 1] + high;
          if constexpr (kDivergence) {
            const F32 y = F32::load(w + i + j * kLanes);
            b[2 * j] = fma(low, F64::widen_low(x) - F64::widen_low(y), b[2 * j]);
            b[2 * j + 1] = fma(high, F64::widen_high(x) - F64::widen_high(y), b[2 * j + 1]);
          }
        }
      }
      for (int j = 0; j < kHalves; ++j) {
        a[j].store(lanes_s + column + j * F64::kLanes);
        if constexpr (kDivergence) b[j].store(lanes_d + column + j * F64::kLanes);
      }
    }
  }
  float e[kSumLanes];
  exp_minus(z + whole, m, n - whole, e);
  for (int64_t i = whole; i < n; ++i) {
    const int lane = static_cast<int>(i - whole);
    const double p = static_cast<double>(e[lane]);
    lanes_s[lane] = lanes_s[lane] + p;
    if constexpr (kDivergence)
      lanes_d[lane] =
          __builtin_fma(p, static_cast<double>(z[i]) - static_cast<double>(w[i]), lanes_d[lane]);
  }
  *s = tree(lanes_s);
  if constexpr (kDivergence) *d = tree(lanes_d);
}

double sum_exp(const float* z, float m, int64_t n) {
  double s;
  likelihood_sums<false>(z, nullptr, m, n, nullptr, &s);
  return s;
}

void divergence_sums(const float* z, const float* w, float m, int64_t n, double* d, double* s) {
  likelihood_sums<true>(z, w, m, n, d, s);
}

}  // namespace

const Kernels kKernels = {map_exp2,  map_exp, map_silu,       map_sincos_phase,
                          exp_minus, swiglu,  scale,          divide,
                          sum,       sum64,   sum_squares,    max,
                          argmax,    sum_exp, divergence_sums};

}  // namespace kvx::num::KVX_ISA
