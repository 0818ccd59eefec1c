// Rotary position embedding (ieee.md, 1.8), rotate-half pairs (i, i + d/2).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvx::num {

// Steps per position, 2^64 per turn, one per pair of a head of `dim` channels; `divisors` (may be
// empty) divides the inverse frequencies (GGUF rope_freqs). RoPE scaling follows with the
// architectures that have it.
std::vector<uint64_t> rope_steps(int dim, double theta, std::span<const float> divisors);

inline uint32_t rope_phase(uint64_t step, int64_t position) {
  return static_cast<uint32_t>((static_cast<uint64_t>(position) * step) >> 32);
}

// (sin, cos) of all pairs at a position, each [dim/2].
void rope_table(std::span<const uint64_t> steps, int64_t position, std::span<float> sin,
                std::span<float> cos);

// Rotates one head row in place: a' = fma(a, c, -(b*s)), b' = fma(b, c, a*s).
void rope_rotate(std::span<float> row, std::span<const float> sin, std::span<const float> cos);

}  // namespace kvx::num
