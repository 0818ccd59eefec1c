// Which values of one token of a layer are outliers, and the range of the others, where the range
// is the token's own (ref/kvquant.md, "Outliers").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvx::ref::kvquant {

// The order of fp16 values as integers: both zeros are 0, a NaN of either sign is above infinity.
int order_of(uint16_t f16_bits);
uint16_t f16_of(int order);  // +0 for 0, 0x7e00 for NaN

struct TokenRange {
  uint16_t lo = 0, hi = 0;     // fp16 patterns
  std::vector<uint8_t> marks;  // [d], 1: outlier
};

// Profile repo: x >= v[d-m] or x <= v[m-1], v = the token ascending; lo, hi are those of the token
// with outliers replaced by v[(d-1)/2]. m = 0: no outliers.
void range_by_value(std::span<const int> order, int64_t m, TokenRange& out);

// Profile paper: the m greatest, then the m smallest of the rest, lower channels first among equal
// ones; lo, hi are those of the others. 2m < d.
void range_by_rank(std::span<const int> order, int64_t m, TokenRange& out);

}  // namespace kvx::ref::kvquant
