// What all tokens of one side of a layer share: the codebook and the calibrated ranges of channels
// (ref/kvquant.md, "The artifact"). From an artifact, which may be anybody's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ref/kvquant/settings.h"
#include "sim/api/artifact.h"

namespace kvx::ref::kvquant {

struct SideTables {
  std::vector<float> codebook;  // c [n], in stored order; empty for intB
  std::vector<float> qnorm;     // alpha, beta; empty without Q-Norm
  std::vector<uint16_t> lo,
      hi;  // fp16 patterns [d], zeros positive; empty where the axis is kToken
};

// The NormalFloat values of 2, 3 or 4 bits, ascending, each rounded to binary32.
std::span<const float> normal_float(int bits);

// Tables of one side of a layer of d channels. `artifact` may be nullptr where nothing of it is
// needed. Throws an environment Error naming file, tensor and value.
SideTables read_tables(const Settings& settings, const Artifact* artifact, int layer, Side side,
                       int64_t channels);

// Throws a usage Error where the artifact says that it was calibrated for another scheme, or for
// other outliers, sink or rotation (nuq: also axes) than the descriptor's.
void check_calibration(const Settings& settings, const Artifact& artifact);

}  // namespace kvx::ref::kvquant
