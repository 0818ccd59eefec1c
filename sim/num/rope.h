// Rotary position embedding (ieee.md, 1.8), rotate-half pairs (i, i + d/2).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvx::num {

// A model's change of the inverse frequencies, step 2 of 1.8: linear divides by `factor`; llama3
// (Llama 3.1 and later) divides only what turns slowly, with wavelength above original / low.
struct RopeScaling {
  enum class Rule : uint8_t { kNone, kLinear, kLlama3 };
  Rule rule = Rule::kNone;
  double factor = 1;     // at least 1
  double low = 1;        // low_freq_factor
  double high = 4;       // high_freq_factor, above low
  int64_t original = 0;  // original_max_position_embeddings

  bool operator==(const RopeScaling&) const = default;
};

// Steps per position, 2^64 per turn, one per pair of a head of `dim` channels, for theta from 1 to
// 1e30. `divisors` (GGUF rope_freqs; each at least 1; may be empty) divide the inverse frequencies
// and take the place of `scaling`.
std::vector<uint64_t> rope_steps(int dim, double theta, std::span<const float> divisors,
                                 const RopeScaling& scaling = {});

inline uint32_t rope_phase(uint64_t step, int64_t position) {
  return static_cast<uint32_t>((static_cast<uint64_t>(position) * step) >> 32);
}

// (sin, cos) of all pairs at a position, each [dim/2].
void rope_table(std::span<const uint64_t> steps, int64_t position, std::span<float> sin,
                std::span<float> cos);

// Rotates one head row in place: a' = fma(a, c, -(b*s)), b' = fma(b, c, a*s).
void rope_rotate(std::span<float> row, std::span<const float> sin, std::span<const float> cos);

}  // namespace kvx::num
