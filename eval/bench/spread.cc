#include "eval/bench/spread.h"

#include <algorithm>

#include "eval/stats.h"

namespace kvx::bench {

Spread spread_of(const std::vector<double>& samples) {
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  return {.median = eval::sorted_percentile(sorted, 0.5),
          .p10 = eval::sorted_percentile(sorted, 0.1),
          .p90 = eval::sorted_percentile(sorted, 0.9),
          .samples = std::ssize(sorted)};
}

Judgement judge(const Spread& before, const Spread& after) {
  const double now = after.median, then = before.median;
  if (now > before.p90 && now > then * (1 + kTolerance)) return Judgement::kSlower;
  if (now < before.p10 && now < then * (1 - kTolerance)) return Judgement::kFaster;
  return Judgement::kSame;
}

}  // namespace kvx::bench
