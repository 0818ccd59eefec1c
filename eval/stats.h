// Statistics of paired measurements; for reports, not part of any contract on bits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace kvx::eval {

// Ascending sum over the count; NaN of nothing.
double mean(std::span<const double> values);

// Linear interpolation between order statistics: rank share * (n - 1). NaN of nothing, or if any
// value is NaN.
double percentile(std::vector<double> values, double share);
// The same of values in ascending order, one at least, none NaN.
double sorted_percentile(std::span<const double> values, double share);

struct Interval {
  double low = 0;
  double high = 0;
  bool operator==(const Interval&) const = default;
};

inline constexpr int kResamples = 10000;

// 95 % percentile interval of a statistic of two paired samples (values of one window under a
// scheme and under the base) by bootstrap over pairs: `statistic` gets the means of both over a
// resample. Resample b draws index i from a counter, so the same seed draws the same windows for
// every scheme. None for fewer than two pairs.
std::optional<Interval> paired_bootstrap(
    std::span<const double> subject, std::span<const double> base, uint64_t seed,
    const std::function<double(double subject_mean, double base_mean)>& statistic,
    int resamples = kResamples);

// The index that draw `counter` of a seed picks out of `count`.
int64_t bootstrap_index(uint64_t seed, uint64_t counter, int64_t count);

// Wilson's 95 % interval of a proportion (Wilson 1927, without continuity correction), 0 <=
// successes <= count. 0 to 1 for a count of 0.
Interval wilson_interval(int64_t successes, int64_t count);

// The same items judged right or wrong under the base and under a scheme.
struct PairedOutcomes {
  int64_t items = 0;
  int64_t lost = 0;    // right under the base alone
  int64_t gained = 0;  // right under the scheme alone; lost + gained <= items
};

// McNemar's exact two-sided test: the probability of a split of the discordant items at least as
// uneven as this one, were each as likely to be lost as gained. 1 where there are none.
double mcnemar_exact(const PairedOutcomes& outcomes);

struct Difference {
  double value = 0;
  double error = 0;  // standard error
};

// Accuracy under the scheme minus accuracy under the base, as shares (Agresti, Categorical Data
// Analysis, section 10.1). NaN for no items.
Difference paired_difference(const PairedOutcomes& outcomes);

}  // namespace kvx::eval
