#include "ref/kvquant/percentile.h"

#include <algorithm>
#include <functional>

namespace kvx::ref::kvquant {
namespace {

// The values of rank i and i + 1 (or i again) in the order of `before`.
template <class Before>
std::pair<double, double> neighbours(std::span<float> values, int64_t i, Before before) {
  const auto at = values.begin() + i;
  std::nth_element(values.begin(), at, values.end(), before);
  const auto next = std::min_element(at + 1, values.end(), before);
  return {static_cast<double>(*at), static_cast<double>(next == values.end() ? *at : *next)};
}

}  // namespace

Range percentile_range(std::span<float> values, int64_t quantile) {
  const int64_t last = std::ssize(values) - 1;
  const int64_t i = quantile == 0 ? 0 : last / quantile;
  const double f =
      quantile == 0 ? 0.0 : static_cast<double>(last % quantile) / static_cast<double>(quantile);
  const auto [low, above] = neighbours(values, i, std::less<>());
  const auto [high, below] = neighbours(values, i, std::greater<>());
  return {static_cast<float>(low + f * (above - low)) + 0.0f,
          static_cast<float>(high - f * (high - below)) + 0.0f};
}

}  // namespace kvx::ref::kvquant
