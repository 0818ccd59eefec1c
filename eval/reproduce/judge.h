// Whether measured numbers bear a claim out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/report/pairs.h"
#include "eval/reproduce/recipe.h"
#include "eval/stats.h"

namespace kvx::reproduce {

// With fewer units nothing is told: that all of five differ the same way happens once in 16 times
// by chance, of six once in 32, the two-sided sign test's first below 5 %. A bootstrap does not see
// it.
inline constexpr int64_t kFewestUnits = 6;

enum class Verdict : uint8_t { kHeld, kNotHeld, kNotDistinguishable };

std::string_view verdict_name(Verdict verdict);  // "held", "not held", "not distinguishable"

// One row beside another: how much larger its metric is, as a difference or as a share of the
// other's.
struct Step {
  std::string subject, base;  // ids of rows
  int64_t units = 0;          // that both have
  double value = 0;
  double limit = 0;                        // what the claim allows
  std::optional<eval::Interval> interval;  // 95 %, paired bootstrap over units; none of one unit
  Verdict verdict = Verdict::kNotDistinguishable;
};

struct Judgement {
  Claim claim;
  std::vector<Step> steps;  // of a ladder one for each row but the first, else a single one
  Verdict verdict = Verdict::kNotDistinguishable;
};

// A bound and a ladder's step are held where the interval ends at or below the limit, not held
// where it begins above it. An ordering is held where it ends below 0, not held where it begins
// above. A number that is NaN counts as +infinity. Of fewer than kFewestUnits units, nothing is
// told.
Step judge_step(const Claim& claim, const report::Pairs& pairs, uint64_t seed);

// What was measured of a row, in the mode and task of the claim's metric.
using SeriesOf = std::function<const report::Series&(const std::string& row)>;

// A ladder is held where every step is, not held where any step is not.
Judgement judge(const Claim& claim, const SeriesOf& series_of, uint64_t seed);

}  // namespace kvx::reproduce
