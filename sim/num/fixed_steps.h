// Steps of fixed.md, section 2, in plain loops.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/num/fixed.h"

namespace kvx::num::fixed {

// The integer nearest to a, and to the exact product a * b; ties to even. Magnitudes up to 2^22.
int32_t nearest(float a);
int32_t nearest(float a, float b);

// 2^e, +0 below 2^-100.
float power(int e);

// E of a number >= +0 with `carry` added to its bits.
int exponent(float x, uint32_t carry);

inline constexpr int kExponentFloor = -64;

// Step 1. y = 2^(14 - e) times q * s, rounded.
struct QueryDigits {
  int e = 0;
  std::array<int32_t, kMaxDim> y{};
};
// scale: as long as q, or nullptr for ones.
QueryDigits query_digits(std::span<const float> q, const float* scale);

// Step 2, before the product with c. zero: as long as q, or nullptr for ones.
float zero_sum(std::span<const float> q, const float* zero);

// Steps 4 and 5. p holds 2^21 times 2^(x - m), +0 for rows not visible.
struct Weights {
  int m = 0;
  int32_t l = 0;
  std::array<float, kTile> p{};
};
// x: [kTile] scores, clamped, in units of log2; one at least is visible.
Weights weights(std::span<const float, kTile> x, std::span<const bool, kTile> visible);

// Steps 6 and 7 for one V group.
struct ValueDigits {
  int eu = 0;
  std::array<int32_t, kTile> digits{};  // P
  int ez = 0;
  int32_t zi = 0;
};
// p as of step 5; scale and zero: [kTile], 0 for rows whose V is not read sealed.
ValueDigits value_digits(std::span<const float, kTile> p, std::span<const float, kTile> scale,
                         std::span<const float, kTile> zero);

// Steps 10 and 11: what tiles, segments and spans are folded into. M, L, Z of each V group, O of
// each channel.
struct Partial {
  static constexpr int kNothing = -(1 << 30);  // M before the first tile

  int m = kNothing;
  float l = 0;
  std::vector<float> z, o;

  Partial(int groups, int dim);
  void clear();
  void raise(int to);                    // if to > M: multiplies by pw(M - to), M = to
  void fold(const Partial& x);           // step 11
  void out(std::span<float> row) const;  // step 12
};

}  // namespace kvx::num::fixed
