// What fused attention knows of a scheme: how a code becomes code * s + z in real numbers
// (sim/num/fixed.md, 2). Codes, scales and zeros lie where layout.h says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gpu/cache/layout.h"

namespace kvx::gpu::fused {

// One side, scale and zero binary16. z = zero_factor * (zero as stored, or the scale where the
// format stores no zero).
struct AffineSide {
  uint32_t flip = 0;  // xor of a stored code that makes it unsigned; 0 or 2^(bits - 1)
  float zero_factor = 1.0f;
};

// By Side.
struct AffineScheme {
  AffineSide side[2];
};

}  // namespace kvx::gpu::fused
