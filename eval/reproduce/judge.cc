#include "eval/reproduce/judge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kvx::reproduce {
namespace {

std::vector<double> without_nan(std::vector<double> values) {
  for (double& value : values)
    if (std::isnan(value)) value = std::numeric_limits<double>::infinity();
  return values;
}

Verdict verdict_of(const Claim& claim, const Step& step) {
  if (!step.interval || step.units < kFewestUnits) return Verdict::kNotDistinguishable;
  const bool within = claim.kind == ClaimKind::kOrdering ? step.interval->high < step.limit
                                                         : step.interval->high <= step.limit;
  if (within) return Verdict::kHeld;
  return step.interval->low > step.limit ? Verdict::kNotHeld : Verdict::kNotDistinguishable;
}

Verdict of_all(const std::vector<Step>& steps) {
  const auto is = [](Verdict verdict) {
    return [verdict](const Step& step) { return step.verdict == verdict; };
  };
  if (std::ranges::any_of(steps, is(Verdict::kNotHeld))) return Verdict::kNotHeld;
  return std::ranges::all_of(steps, is(Verdict::kHeld)) ? Verdict::kHeld
                                                        : Verdict::kNotDistinguishable;
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  static constexpr std::array<std::string_view, 3> kNames{"held", "not held",
                                                          "not distinguishable"};
  return kNames[static_cast<size_t>(verdict)];
}

Step judge_step(const Claim& claim, const report::Pairs& pairs, uint64_t seed) {
  const std::vector<double> subject = without_nan(pairs.subject), base = without_nan(pairs.base);
  const auto larger_by = [&claim](double subject_mean, double base_mean) {
    const double a = claim.metric.of_mean(subject_mean), b = claim.metric.of_mean(base_mean);
    return claim.relative ? a / b - 1 : a - b;
  };
  Step step;
  step.units = std::ssize(subject);
  step.value = larger_by(eval::mean(subject), eval::mean(base));
  step.limit = claim.margin;
  step.interval = eval::paired_bootstrap(subject, base, seed, larger_by);
  step.verdict = verdict_of(claim, step);
  return step;
}

Judgement judge(const Claim& claim, const SeriesOf& series_of, uint64_t seed) {
  Judgement out;
  out.claim = claim;
  // Of a ladder each row beside the one before; else the first beside the second.
  const bool ladder = claim.kind == ClaimKind::kLadder;
  for (size_t i = 1; i < claim.rows.size(); ++i) {
    const std::string& subject = claim.rows[ladder ? i : 0];
    const std::string& base = claim.rows[ladder ? i - 1 : 1];
    Step step = judge_step(
        claim, pair_values(series_of(subject), series_of(base), claim.metric.kind->value), seed);
    step.subject = subject;
    step.base = base;
    out.steps.push_back(std::move(step));
  }
  out.verdict = of_all(out.steps);
  return out;
}

}  // namespace kvx::reproduce
