// Small deterministic numbers for tests that only need some.
#pragma once

#include <cstdint>
#include <vector>

namespace kvx::test {

// Uniform in [-1, 1), by a linear congruential generator.
inline std::vector<float> noise(int64_t count, uint32_t seed) {
  std::vector<float> out(static_cast<size_t>(count));
  uint32_t state = seed * 2654435761u + 1u;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int32_t>(state) >> 8) * 0x1p-23f;
  }
  return out;
}

}  // namespace kvx::test
