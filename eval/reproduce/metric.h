// What a recipe may show and claim of a scheme: a number of every unit of a task, and of a mean of
// such numbers. The smaller, the better, of all of them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "eval/report/pairs.h"

namespace kvx::reproduce {

struct MetricKind {
  std::string_view name;   // in a recipe
  std::string_view task;   // that measures it
  std::string_view title;  // of a column
  report::UnitValue value;
  bool exponential = false;  // the metric is exp of the mean over units
  double scale = 1;          // of what is printed
};

// ppl and kl of task ppl; error.k, error.v, error.weights and error.out of task error, means over
// layers.
std::span<const MetricKind> metric_kinds();

// A metric in a cache mode.
struct Metric {
  const MetricKind* kind = nullptr;
  std::string mode;

  std::string str() const;  // "ppl/all"
  double of_mean(double mean) const;
  // 5.6912, 0.0214, 4.55
  std::string text(double value) const;
};

}  // namespace kvx::reproduce
