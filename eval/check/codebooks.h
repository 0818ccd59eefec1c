// Codebooks and ranges of channels for cases of kvquant: made from the hash.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "sim/api/artifact.h"
#include "sim/api/descriptor.h"

namespace kvx::check {

// Layer 0's lo, hi [channels], codebook and qnorm of both sides (ref/kvquant.md). Codebook: dyadic
// in [-1, 1], so that normal values meet midpoints; for profile repo and an odd last digit of the
// hash in another order than ascending. Ranges: half around 0, half shifted, some of one sign;
// widths between 2^-6 and 2^6, half of them powers of 2, one in 16 without width, one in 16 around
// subnormal numbers.
std::shared_ptr<const Artifact> made_codebooks(const Descriptor& descriptor, std::string_view hash,
                                               int64_t channels);

}  // namespace kvx::check
