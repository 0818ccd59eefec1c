#include "eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "eval/stats.h"

namespace kvx::eval {
namespace {

constexpr size_t kErrorsFrom = 11;       // positions
constexpr size_t kCovariancesFrom = 10;  // positions

double product_mean(std::span<const double> x, std::span<const double> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum / static_cast<double>(x.size());
}

// Covariance of the means.
double mean_covariance(std::span<const double> x, std::span<const double> y) {
  if (x.size() < kCovariancesFrom) return 0;
  return (product_mean(x, y) - mean(x) * mean(y)) / static_cast<double>(x.size() - 1);
}

// Rounding may leave a variance just below 0.
double root(double variance) { return std::sqrt(variance < 0 ? 0 : variance); }

// Spread of a distribution. `values` are sorted here.
template <size_t N>
void fill_percentiles(std::vector<double>& values, const std::array<double, N>& per_cent,
                      std::array<double, N>& out, double& max, double& min) {
  std::sort(values.begin(), values.end(), [](double a, double b) {
    return std::isnan(b) ? !std::isnan(a) : a < b;  // NaN last: a total order
  });
  const bool nan = std::isnan(values.back());
  for (size_t i = 0; i < N; ++i)
    out[i] = nan ? values.back() : sorted_percentile(values, per_cent[i] / 100);
  max = values.back();
  min = nan ? values.back() : values.front();
}

}  // namespace

Estimate mean_with_error(std::span<const double> x) {
  const double m = mean(x);
  if (x.size() < kErrorsFrom) return {m, 0};
  return {m, root((product_mean(x, x) - m * m) / static_cast<double>(x.size() - 1))};
}

Estimate perplexity(std::span<const double> nll) {
  const Estimate m = mean_with_error(nll);
  return {std::exp(m.value), std::exp(m.value) * m.error};
}

Divergence divergence(std::span<const double> nll, std::span<const double> base_nll,
                      std::span<const double> kl, std::span<const double> same_top) {
  const size_t n = nll.size();
  Divergence out;
  out.positions = static_cast<int64_t>(n);
  out.ppl = perplexity(nll);
  out.base_ppl = perplexity(base_nll);

  const Estimate q = mean_with_error(nll), b = mean_with_error(base_nll);
  const double covariance = mean_covariance(nll, base_nll);
  out.correlation = covariance / (q.error * b.error);
  const bool errors = n >= kErrorsFrom;
  out.log_ppl_ratio = {q.value - b.value,
                       errors ? root(q.error * q.error + b.error * b.error - 2 * covariance) : 0};
  const double ratio = std::exp(out.log_ppl_ratio.value);
  out.ppl_ratio = {ratio, ratio * out.log_ppl_ratio.error};
  out.ppl_difference = {
      out.ppl.value - out.base_ppl.value,
      errors ? root(out.ppl.error * out.ppl.error + out.base_ppl.error * out.base_ppl.error -
                    2 * out.ppl.value * out.base_ppl.value * covariance)
             : 0};

  out.kl_mean = mean_with_error(kl);
  std::vector<double> sorted(kl.begin(), kl.end());
  fill_percentiles(sorted, kKlPercentiles, out.kl, out.kl_max, out.kl_min);

  std::vector<double> delta(n), square(n);
  for (size_t i = 0; i < n; ++i) {
    delta[i] = std::exp(-nll[i]) - std::exp(-base_nll[i]);
    square[i] = delta[i] * delta[i];
  }
  out.delta_p_mean = mean_with_error(delta);
  const Estimate mean_square = mean_with_error(square);
  const double rms = std::sqrt(mean_square.value);
  out.delta_p_rms = {rms, rms > 0 ? 0.5 / rms * mean_square.error : 0};
  fill_percentiles(delta, kDeltaPercentiles, out.delta_p, out.delta_p_max, out.delta_p_min);

  const double share = mean(same_top);
  out.same_top = {share, errors ? root(share * (1 - share) / static_cast<double>(n - 1)) : 0};
  return out;
}

}  // namespace kvx::eval
