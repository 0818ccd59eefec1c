// The arithmetic of kvquant that host and device share (ref/kvquant.md): where a value lies in the
// range of its vector (a channel, or a token of all KV heads), which code that is, and the least
// value of each code.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "gpu/cache/layout.h"

namespace kvx::gpu::kvquant {

inline constexpr int kMostCodes = 16;

// How values of a vector are placed: (x - a) / b with z and r; of integers b x - a with o and k.
struct Scale {
  float a = 0.0f;
  float b = 0.0f;
};

// In the domain of the codebook; of integers in steps of codes, not yet rounded.
KVX_HD inline float position(bool integer, float x, Scale s) {
  if (!integer) return (x - s.a) / s.b;
  const float product = s.b * x;
  return product - s.a;
}

// The first code at the least rounded distance; 0 where distances are NaN or all infinite.
KVX_HD inline uint32_t nearest_code(const float* codebook, int codes, float u) {
  uint32_t best = 0;
  float least = u < codebook[0] ? codebook[0] - u : u - codebook[0];
  for (int i = 1; i < codes; ++i) {
    const float distance = u < codebook[i] ? codebook[i] - u : u - codebook[i];
    if (distance < least) {
      least = distance;
      best = static_cast<uint32_t>(i);
    }
  }
  return best;
}

// Patterns of binary16 in ascending order; -0 comes before +0. The infinities are kLeast and kMost.
inline constexpr int kLeast = 0x03FF, kMost = 0xFC00;
KVX_HD inline uint16_t pattern_of(int order) {
  return static_cast<uint16_t>(order >= 0x8000 ? order - 0x8000 : 0xFFFF - order);
}
KVX_HD inline int order_of(uint16_t pattern) {
  return (pattern & 0x8000) != 0 ? 0xFFFF - pattern : pattern + 0x8000;
}
KVX_HD inline float number_of(uint16_t pattern) {
  __half_raw raw;
  raw.x = pattern;
  return __half2float(__half(raw));
}
KVX_HD inline uint16_t nearest_pattern(float x) {
  return static_cast<__half_raw>(__float2half_rn(x)).x;
}

inline constexpr uint16_t kNever = 0x7E00;  // a NaN: no value is at least this

// The least binary16 number at position `at` or above, kNever if there is none. Positions do not
// fall as x rises; one that is NaN counts as below.
KVX_HD inline uint16_t first_at(bool integer, float at, Scale s) {
  // Within [low, high]: from a guess outwards in growing steps, then by halves.
  int low = kLeast, high = kMost + 1;
  const float guess = integer ? (at + s.a) / s.b : at * s.b + s.a;
  int probe = guess == guess ? order_of(nearest_pattern(guess)) : 0x8000;
  for (int step = 1; low < high; step *= 2) {
    if (position(integer, number_of(pattern_of(probe)), s) >= at) {
      high = probe;
    } else {
      low = probe + 1;
    }
    const bool below = low > kLeast, above = high <= kMost;  // whether such values were seen
    if (below && above) {
      probe = low + (high - low) / 2;
    } else if (above) {
      probe = high - step > low ? high - step : low;
    } else {
      probe = low - 1 + step < high ? low - 1 + step : high - 1;
    }
  }
  return low > kMost ? kNever : pattern_of(low);
}

}  // namespace kvx::gpu::kvquant
