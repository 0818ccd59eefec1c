#include "eval/reproduce/metric.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

#include "eval/stats.h"

namespace kvx::reproduce {
namespace {

template <size_t kError>
double layer_mean(const report::Unit& unit) {
  std::vector<double> values;
  for (const report::LayerError& layer : std::get<report::ErrorScores>(unit.scores).layers)
    values.push_back(layer[kError]);
  return eval::mean(values);
}

}  // namespace

std::span<const MetricKind> metric_kinds() {
  static constexpr std::array<MetricKind, 6> kKinds{
      {{"ppl", "ppl", "perplexity", report::window_nll, true},
       {"kl", "ppl", "KL mean", report::window_kl},
       {"error.k", "error", "K error %", layer_mean<0>, false, 100},
       {"error.v", "error", "V error %", layer_mean<1>, false, 100},
       {"error.weights", "error", "weights error %", layer_mean<2>, false, 100},
       {"error.out", "error", "output error %", layer_mean<3>, false, 100}}};
  return kKinds;
}

std::string Metric::str() const { return fmt::format("{}/{}", kind->name, mode); }

double Metric::of_mean(double mean) const { return kind->exponential ? std::exp(mean) : mean; }

std::string Metric::text(double value) const {
  return kind->exponential ? fmt::format("{:.4f}", value)
                           : fmt::format("{:#.4g}", kind->scale * value);
}

}  // namespace kvx::reproduce
