// Two series unit by unit, and the statistics of their difference.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "eval/report/merge.h"
#include "eval/stats.h"

namespace kvx::report {

// A number of each unit that both have, in order of their names.
struct Pairs {
  std::vector<double> subject, base;
};
using UnitValue = double (*)(const Unit& unit);
Pairs pair_values(const Series& subject, const Series& base, UnitValue value);

double window_nll(const Unit& unit);         // of a kvx-result
double window_kl(const Unit& unit);          // of a kvx-result
double sample_score(const Unit& unit);       // of a kvx-sample: its first reading
double mean_output_error(const Unit& unit);  // of a kvx-error: `out`, over layers

// exp(subject) - exp(base): statistic of paired_bootstrap over mean log-likelihoods.
double perplexity_difference(double subject_nll, double base_nll);

// 95 % percentile interval of a mean by bootstrap; none for fewer than two values.
std::optional<eval::Interval> bootstrap(std::span<const double> values, uint64_t seed);

// 95 % interval of a mean score: Wilson's where every score is 0 or 1, else by bootstrap.
std::optional<eval::Interval> score_interval(std::span<const double> scores, uint64_t seed);

// Scores of the same samples under two caches.
struct SampleDifference {
  std::optional<double> delta;  // of mean scores
  // 95 %: of 0/1 scores from the paired standard error, else by paired bootstrap over samples.
  std::optional<eval::Interval> interval;
  int64_t lost = 0, gained = 0;  // samples that only the base, only the subject has right
  std::optional<double> p;       // McNemar's exact test; only of scores that are 0 or 1
};
SampleDifference compare_samples(const Pairs& pairs, uint64_t seed);

}  // namespace kvx::report
