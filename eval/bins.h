// Scores by position in the window: damage of a cache grows with what is read from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/number.h"
#include "eval/record.h"

namespace kvx::eval {

inline constexpr int64_t kDefaultBins = 8;

// Positions [first, end) of all windows: a position's prediction reads itself and what is before.
struct PositionBin {
  int64_t first = 0, end = 0;
  int64_t targets = 0;
  double nll = 0;        // mean
  double ppl = 0;        // exp(nll)
  double delta_ppl = 0;  // minus the base's
  double kl_mean = 0;
  double same_top = 0;  // share
};

// Windows of `length` tokens in `count` bins of ceil(length / count) positions, the last shorter;
// those in which nothing is scored are left out. `scores` and `base` hold the same positions,
// window after window, `per_window` each, the first of them `first_position`.
std::vector<PositionBin> position_bins(const PositionScores& scores, const PositionScores& base,
                                       int64_t first_position, int64_t per_window, int64_t length,
                                       int64_t count);

Json bins_json(const std::vector<PositionBin>& bins);

}  // namespace kvx::eval
