// What is said of repeated measurements.
#pragma once

#include <cstdint>
#include <vector>

namespace kvx::bench {

struct Spread {
  double median = 0, p10 = 0, p90 = 0;  // linear between order statistics
  int64_t samples = 0;
  bool operator==(const Spread&) const = default;
};

// Of one sample at least, none NaN.
Spread spread_of(const std::vector<double>& samples);

// A median that is slower by more than this share, and beyond the baseline's p90, is a regression;
// faster by more, and below its p10, an improvement.
inline constexpr double kTolerance = 0.02;

enum class Judgement { kSame, kFaster, kSlower };
// Of times.
Judgement judge(const Spread& before, const Spread& after);

}  // namespace kvx::bench
