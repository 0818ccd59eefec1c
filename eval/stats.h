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

}  // namespace kvx::eval
