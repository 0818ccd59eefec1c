// Counter-based random numbers: a value depends on (seed, tensor, index) and nothing else, so any
// part of a tensor can be made anywhere, in any order, on any number of threads. Only integer and
// IEEE operations.
#pragma once

#include <array>
#include <cstdint>

namespace kvx::gen {

using Words = std::array<uint32_t, 4>;

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
Words philox(Words counter, std::array<uint32_t, 2> key);

// Where numbers come from. `purpose` keeps several draws for one tensor apart (noise, channel
// scales, ...).
struct Source {
  uint64_t seed = 0;
  uint32_t tensor = 0;
  uint32_t purpose = 0;

  // 128 random bits: philox of counter (index low, index high, tensor, purpose), key (seed low,
  // seed high).
  Words words(uint64_t index) const;
  // Of [0, 1): the 53 highest bits of words 0 (low) and 1 (high).
  double uniform(uint64_t index) const;
  // Standard normal (Box-Muller): sqrt(-2 log64(1 - u)) * cos(phase), u = uniform(index), phase =
  // word 2, in binary64, rounded once.
  float normal(uint64_t index) const;
};

}  // namespace kvx::gen
