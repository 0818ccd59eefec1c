#include "eval/report/pairs.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace kvx::report {
namespace {

using eval::Interval;
using eval::mean;

constexpr double kNormal975 = 1.959963984540054;  // quantile of the normal distribution

bool zero_or_one(std::span<const double> scores) {
  return std::all_of(scores.begin(), scores.end(),
                     [](double score) { return score == 0 || score == 1; });
}

}  // namespace

Pairs pair_values(const Series& subject, const Series& base, UnitValue value) {
  Pairs pairs;
  for (const auto& [name, unit] : subject.units) {
    const auto other = base.units.find(name);
    if (other == base.units.end()) continue;
    pairs.subject.push_back(value(*unit));
    pairs.base.push_back(value(*other->second));
  }
  return pairs;
}

double window_nll(const Unit& unit) { return std::get<WindowScores>(unit.scores).nll_mean; }

double window_kl(const Unit& unit) { return std::get<WindowScores>(unit.scores).kl_mean; }

double sample_score(const Unit& unit) {
  return std::get<SampleScores>(unit.scores).readings.front().score;
}

double mean_output_error(const Unit& unit) {
  std::vector<double> out;
  for (const LayerError& layer : std::get<ErrorScores>(unit.scores).layers)
    out.push_back(layer.back());
  return mean(out);
}

double perplexity_difference(double subject_nll, double base_nll) {
  return std::exp(subject_nll) - std::exp(base_nll);
}

std::optional<Interval> bootstrap(std::span<const double> values, uint64_t seed) {
  return eval::paired_bootstrap(values, values, seed,
                                [](double subject, double) { return subject; });
}

std::optional<Interval> score_interval(std::span<const double> scores, uint64_t seed) {
  if (scores.empty()) return std::nullopt;
  if (!zero_or_one(scores)) return bootstrap(scores, seed);
  return eval::wilson_interval(std::count(scores.begin(), scores.end(), 1.0),
                               static_cast<int64_t>(scores.size()));
}

SampleDifference compare_samples(const Pairs& pairs, uint64_t seed) {
  SampleDifference out;
  if (pairs.subject.empty()) return out;
  for (size_t i = 0; i < pairs.subject.size(); ++i) {
    out.lost += pairs.subject[i] < pairs.base[i] ? 1 : 0;
    out.gained += pairs.subject[i] > pairs.base[i] ? 1 : 0;
  }
  if (zero_or_one(pairs.subject) && zero_or_one(pairs.base)) {
    const eval::PairedOutcomes outcomes{static_cast<int64_t>(pairs.subject.size()), out.lost,
                                        out.gained};
    const eval::Difference difference = paired_difference(outcomes);
    out.delta = difference.value;
    const double half = kNormal975 * difference.error;
    out.interval = {std::max(-1.0, difference.value - half),
                    std::min(1.0, difference.value + half)};
    out.p = mcnemar_exact(outcomes);
  } else {
    out.delta = mean(pairs.subject) - mean(pairs.base);
    out.interval = eval::paired_bootstrap(pairs.subject, pairs.base, seed, std::minus<double>());
  }
  return out;
}

}  // namespace kvx::report
