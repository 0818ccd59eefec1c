// What all tokens of one side of a layer share, in host memory: codebook and calibrated ranges,
// from an artifact that may be anybody's, and what kernels make of them once.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/kvquant/rule.h"
#include "gpu/kvquant/settings.h"

namespace kvx::gpu::kvquant {

struct Tables {
  std::vector<float> codebook;   // [n] in stored order; empty for integers
  std::vector<float> qnorm;      // alpha, beta; empty without Q-Norm
  std::vector<uint16_t> lo, hi;  // [d] fp16 patterns; empty where ranges are the tokens'

  std::vector<float> decoded;  // [n]: what a code stands for before it is scaled
  uint32_t code_of_zero = 0;   // of u = 0

  // [n + 1]: codes j and above begin at position[j], 0 < j < n. Outside [position[0], position[n])
  // codes are to be looked for in the codebook (integers: nowhere; a codebook for which this does
  // not hold: everywhere).
  std::vector<float> positions;
  // By channel, where ranges are calibrated: [d], and rows [n + 3][d] of fp16 patterns, the first
  // number at each position, then lo and hi.
  std::vector<Scale> scales;
  std::vector<uint16_t> bounds;
};

// Throws an environment Error naming file, tensor and value; a usage Error where a layer of that
// shape has too many channels, or too few for its outliers. `artifact` may be nullptr where nothing
// of it is needed.
Tables make_tables(const Settings& settings, const Artifact* artifact, const LayerShape& shape,
                   Side side);

}  // namespace kvx::gpu::kvquant
