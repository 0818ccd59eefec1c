// A benchmark against an earlier one on the same device.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/record.h"

namespace kvx::bench {

struct Change {
  Record before, after;
  Judgement judgement = Judgement::kSame;
};

struct Comparison {
  std::vector<Change> changes;                       // of what both have
  std::vector<std::string> only_after, only_before;  // subject_text

  int64_t slower() const;
  bool good() const { return !changes.empty() && slower() == 0; }
};

// Throws a usage Error where `before` (`baseline`: its path) was not measured on this backend and
// device, or lacks one of these shapes.
void check_comparable(const Document& before, const std::string& baseline,
                      const std::string& backend, const std::string& device,
                      const std::vector<BenchShape>& shapes);

// Own records alone; judged by `judge`.
Comparison compare(const Document& after, const Document& before);

// A line for everything that changed, and how much was looked at.
std::string comparison_text(const Comparison& comparison);

}  // namespace kvx::bench
