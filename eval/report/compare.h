// Runs against a baseline of the same model and tasks: what is equal, and what changed for certain.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/report/score.h"

namespace kvx::report {

// A change of speed beyond this share is named.
inline constexpr double kSpeedTolerance = 0.1;

struct Speed {
  std::string backend;
  double before = 0, after = 0;  // tokens per second on the units that both ran on it
  bool same_machine = false;     // both on one and the same host (and device)
};

// A task, mode and scheme that both measured; over the units that both have.
struct Change {
  std::string task, mode, scheme;  // the scheme without its version
  Kind kind = Kind::kWindows;
  int64_t units = 0;
  int64_t equal = 0;  // units of which every recorded value is equal to the last bit
  // Perplexity, mean score or mean error of the attention output; of samples all cells.
  double before = 0, after = 0;
  std::optional<Interval> interval;  // of after - before, 95 %, paired
  std::optional<double> p;           // McNemar's
  double bits_before = 0, bits_after = 0;
  std::vector<Speed> speeds;
  std::vector<std::string> regressions, others;  // significant changes, a sentence each
};

struct Comparison {
  std::vector<Change> changes;
  std::vector<std::string> only_after, only_before;  // "model: task, mode: scheme"

  int64_t regressions() const;
  bool good() const { return !changes.empty() && regressions() == 0; }
};

// Models of equal identity, tasks of equal name and identity and schemes of equal label, whatever
// the versions of task and scheme. Values are compared bit for bit first; where they are not equal,
// perplexities and errors differ significantly where the 95 % interval of a paired bootstrap over
// windows leaves out 0, 0/1 scores where McNemar's exact p is below 0.05, other scores by paired
// bootstrap over samples. Counted bits are compared exactly. Slower by more than kSpeedTolerance is
// a regression on the same machine alone.
Comparison compare(const std::vector<Model>& after, const std::vector<Model>& before);

std::string comparison_text(const Comparison& comparison);   // for people
std::string comparison_junit(const Comparison& comparison);  // a case for each Change

}  // namespace kvx::report
