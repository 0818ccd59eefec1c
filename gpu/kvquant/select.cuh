// Order statistics of one token's values, which a team holds in registers: which are outliers, and
// the range of the others (ref/kvquant.md, "Outliers").
//
// Values are unsigned 16-bit orders, two in a word: binary16 in ascending order, both zeros one, a
// NaN of either sign above infinity. An order of 0 is no value.
#pragma once

#include "gpu/cache/append_math.cuh"
#include "gpu/kvquant/rule.h"
#include "gpu/kvquant/team.cuh"

namespace kvx::gpu::kvquant {

inline constexpr uint32_t kOrderOfNan = 0xFFFFu;

__device__ inline uint32_t orders_of(uint32_t pair) {
  // Adding +0 makes -0 to +0 and any NaN to 0x7FFF.
  const uint32_t plain = as_word(__hadd2_rn(as_half2(pair), __float2half2_rn(0.0f)));
  const uint32_t negative = (plain >> 15 & 0x00010001u) * 0xFFFFu;
  return plain ^ (negative | 0x80008000u);
}
// The order of a value among those in descending order, or back.
__device__ inline uint32_t flip(uint32_t order) { return max(~order & 0xFFFFu, 1u); }

// As it is stored: zero positive, NaN as 0x7E00.
__device__ inline uint16_t stored_of(uint32_t order) {
  return order > kMost ? kNever : pattern_of(static_cast<int>(order));
}

// Ones in the halves of `x` that are at least `bound`, which is above 0.
__device__ inline uint32_t ones_from(uint32_t x, uint32_t bound) {
  const uint32_t both = bound * 0x10001u, below = both - 0x10001u;
  return __vminu2(__vmaxu2(x, below), both) - below;
}

// A token's values in a thread: kOctets times eight.
template <int kOctets>
struct Orders {
  uint32_t word[kOctets][4];

  // In descending order instead.
  __device__ Orders flipped() const {
    Orders r;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        r.word[o][i] = word[o][i] != 0 ? __vmaxu2(~word[o][i], 0x00010001u) : 0u;
    return r;
  }
  __device__ uint32_t greatest() const {
    uint32_t m = 0;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i) m = __vmaxu2(m, word[o][i]);
    return max(m & 0xFFFFu, m >> 16);
  }
  __device__ uint32_t count_from(uint32_t bound) const {
    uint32_t n = 0;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i) n += ones_from(word[o][i], bound);
    return (n & 0xFFFFu) + (n >> 16);
  }
  // The least from `bound` on; kOrderOfNan if there is none.
  __device__ uint32_t least_from(uint32_t bound) const {
    uint32_t m = ~0u;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        m = __vminu2(m, word[o][i] | ~(ones_from(word[o][i], bound) * 0xFFFFu));
    return min(m & 0xFFFFu, m >> 16);
  }
  // The greatest below `bound`; 0 if there is none.
  __device__ uint32_t greatest_below(uint32_t bound) const {
    uint32_t m = 0;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        m = __vmaxu2(m, word[o][i] & ~(ones_from(word[o][i], bound) * 0xFFFFu));
    return max(m & 0xFFFFu, m >> 16);
  }
  // A bit for each value of an octet that is at least `bound`.
  __device__ uint32_t marks_from(int o, uint32_t bound) const {
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) bits |= ones_from(word[o][i], bound) << (2 * i);
    return (bits | bits >> 15) & 0xFFu;
  }
  __device__ uint32_t marks_above(int o, uint32_t bound) const {
    return bound < kOrderOfNan ? marks_from(o, bound + 1) : 0u;
  }
};

struct Nth {
  uint32_t order;
  uint32_t count;  // values that are no less
};

// The m-th greatest value, 0 < m <= number of values.
template <bool kBlock, int kOctets>
__device__ inline Nth nth_greatest(const Team<kBlock>& team, const Orders<kOctets>& x, uint32_t m) {
  const uint32_t mine = x.greatest();
  uint32_t low = 1, high = team.max(mine);
  if constexpr (!kBlock) {
    // Of the threads' greatest values the m-th is a bound, and most often the answer.
    if (m <= 32) {
      uint32_t top = high;
      while (low < top) {
        const uint32_t probe = low + (top - low + 1) / 2;
        if (__popc(__ballot_sync(~0u, mine >= probe)) >= static_cast<int>(m)) {
          low = probe;
        } else {
          top = probe - 1;
        }
      }
    }
  }
  for (uint32_t probe = low;;) {
    const uint32_t count = team.sum(x.count_from(probe));
    if (count == m) return {team.min(x.least_from(probe)), count};
    if (count > m) {
      low = probe;
      if (low == high) return {low, count};
    } else {
      high = probe - 1;
      if (low == high) return {low, team.sum(x.count_from(low))};
    }
    probe = low + (high - low + 1) / 2;
  }
}

// A token's outliers, eight marks an octet, and the range of the others.
template <int kOctets>
struct Selection {
  uint32_t marks[kOctets] = {};
  uint32_t lo = 0, hi = 0;  // orders
};

// Marks the first `count` values equal to `order` that are not marked yet, channels ascending.
template <bool kBlock, int kOctets>
__device__ inline void mark_equal(const Team<kBlock>& team, const Orders<kOctets>& x,
                                  uint32_t order, uint32_t count, uint32_t (&marks)[kOctets]) {
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    uint32_t equal = x.marks_from(o, order) & ~x.marks_above(o, order) & ~marks[o];
    uint32_t total = 0;
    const uint32_t before = team.sum_before(static_cast<uint32_t>(__popc(equal)), total);
    for (uint32_t rank = before; equal != 0 && rank < count; ++rank, equal &= equal - 1)
      marks[o] |= equal & (0u - equal);
    count = count > total ? count - total : 0u;
  }
}

// Marks the m greatest values, of equal ones those of lower channels; gives the greatest of the
// others.
template <bool kBlock, int kOctets>
__device__ inline uint32_t mark_greatest(const Team<kBlock>& team, const Orders<kOctets>& x,
                                         uint32_t m, uint32_t (&marks)[kOctets]) {
  const Nth nth = nth_greatest(team, x, m);
  if (nth.count == m) {
#pragma unroll
    for (int o = 0; o < kOctets; ++o) marks[o] |= x.marks_from(o, nth.order);
    return team.max(x.greatest_below(nth.order));
  }
  uint32_t above = 0;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const uint32_t greater = x.marks_above(o, nth.order);
    marks[o] |= greater;
    above += static_cast<uint32_t>(__popc(greater));
  }
  mark_equal(team, x, nth.order, m - team.sum(above), marks);
  return nth.order;
}

// Profile paper: the m greatest, then of the others the m least. 2 m is less than their number.
template <bool kBlock, int kOctets>
__device__ inline Selection<kOctets> select_by_rank(const Team<kBlock>& team,
                                                    const Orders<kOctets>& x,
                                                    const Orders<kOctets>& flipped, uint32_t m) {
  Selection<kOctets> s;
  s.hi = mark_greatest(team, x, m, s.marks);
  s.lo = flip(mark_greatest(team, flipped, m, s.marks));
  return s;
}

// Profile repo: what is no less than the m-th greatest or no more than the m-th least of `count`
// values; the range is that of the others and of the median, the lower one of two.
template <bool kBlock, int kOctets>
__device__ inline Selection<kOctets> select_by_value(const Team<kBlock>& team,
                                                     const Orders<kOctets>& x,
                                                     const Orders<kOctets>& flipped, uint32_t count,
                                                     uint32_t m) {
  Selection<kOctets> s;
  const Nth great = nth_greatest(team, x, m), small = nth_greatest(team, flipped, m);
#pragma unroll
  for (int o = 0; o < kOctets; ++o)
    s.marks[o] = x.marks_from(o, great.order) | flipped.marks_from(o, small.order);
  const uint32_t least_order = flip(small.order);
  s.hi = team.max(x.greatest_below(great.order));
  s.lo = flip(team.max(flipped.greatest_below(small.order)));
  // The median is an outlier only where it equals one of the two.
  const uint32_t middle = (count - 1) / 2;
  const bool is_great = middle >= count - great.count, is_small = middle < small.count;
  if (!is_great && !is_small) return s;
  const uint32_t median = is_great ? great.order : least_order;
  const bool none = s.hi <= least_order;  // all are outliers
  s.hi = none ? median : max(s.hi, median);
  s.lo = none ? median : min(s.lo, median);
  return s;
}

}  // namespace kvx::gpu::kvquant
