#include "eval/stats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace kvx::eval {

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double sorted_percentile(std::span<const double> values, double share) {
  const double rank = share * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, values.size() - 1);
  const double part = rank - static_cast<double>(below);
  const double low = values[below], high = values[above];
  return part == 0 || low == high ? low : low + part * (high - low);
}

double percentile(std::vector<double> values, double share) {
  const bool nan =
      std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); });
  if (values.empty() || nan) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  return sorted_percentile(values, share);
}

// SplitMix64 (Steele, Lea, Flood 2014) of a counter.
int64_t bootstrap_index(uint64_t seed, uint64_t counter, int64_t count) {
  uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return static_cast<int64_t>(((z >> 32) * static_cast<uint64_t>(count)) >> 32);
}

std::optional<Interval> paired_bootstrap(
    std::span<const double> subject, std::span<const double> base, uint64_t seed,
    const std::function<double(double subject_mean, double base_mean)>& statistic, int resamples) {
  const size_t n = subject.size();
  if (n < 2 || base.size() != n || resamples < 1) return std::nullopt;
  std::vector<double> draws(static_cast<size_t>(resamples));
  uint64_t counter = 0;
  for (double& draw : draws) {
    double subject_sum = 0;
    double base_sum = 0;
    for (size_t i = 0; i < n; ++i, ++counter) {
      const size_t pick =
          static_cast<size_t>(bootstrap_index(seed, counter, static_cast<int64_t>(n)));
      subject_sum += subject[pick];
      base_sum += base[pick];
    }
    draw = statistic(subject_sum / static_cast<double>(n), base_sum / static_cast<double>(n));
  }
  return Interval{percentile(draws, 0.025), percentile(draws, 0.975)};
}

Interval wilson_interval(int64_t successes, int64_t count) {
  constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % quantile
  if (count == 0) return {0, 1};
  const double n = static_cast<double>(count);
  const double share = static_cast<double>(successes) / n;
  const double scale = 1 + kZ * kZ / n;
  const double middle = (share + kZ * kZ / (2 * n)) / scale;
  const double half = kZ * std::sqrt(share * (1 - share) / n + kZ * kZ / (4 * n * n)) / scale;
  return {successes == 0 ? 0 : middle - half, successes == count ? 1 : middle + half};
}

// Twice the binomial tail below: its largest term by the gamma function, the others in proportion.
double mcnemar_exact(const PairedOutcomes& outcomes) {
  const int64_t few = std::min(outcomes.lost, outcomes.gained);
  const int64_t all = outcomes.lost + outcomes.gained;
  const auto log_factorial = [](int64_t n) { return std::lgamma(static_cast<long double>(n + 1)); };
  const long double largest =
      std::exp(log_factorial(all) - log_factorial(few) - log_factorial(all - few) -
               static_cast<long double>(all) * std::numbers::ln2_v<long double>);
  long double sum = 1, term = 1;
  for (int64_t k = few; k > 0; --k) {
    term *= static_cast<long double>(k) / static_cast<long double>(all - k + 1);
    sum += term;
  }
  return static_cast<double>(std::min(1.0L, 2 * largest * sum));
}

Difference paired_difference(const PairedOutcomes& outcomes) {
  const double n = static_cast<double>(outcomes.items);
  const double net = static_cast<double>(outcomes.gained - outcomes.lost);
  const double discordant = static_cast<double>(outcomes.gained + outcomes.lost);
  return {net / n, std::sqrt(discordant - net * net / n) / n};
}

}  // namespace kvx::eval
