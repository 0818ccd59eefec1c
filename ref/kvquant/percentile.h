// Ranges of a vector between two percentiles (ref/kvquant/calibrate.md, "Ranges").
#pragma once

#include <cstdint>
#include <span>

namespace kvx::ref::kvquant {

struct Range {
  float lo = 0;
  float hi = 0;
};

// The percentiles 1/E and 1 - 1/E of N >= 1 values, interpolated linearly in binary64 and rounded
// to binary32: with i = floor((N-1)/E), f = ((N-1) mod E)/E and v the sorted values,
// lo = v[i] + f (v[i+1] - v[i]), hi = v[N-1-i] - f (v[N-1-i] - v[N-2-i]). E = 0: min and max. The
// values are reordered.
Range percentile_range(std::span<float> values, int64_t quantile);

}  // namespace kvx::ref::kvquant
