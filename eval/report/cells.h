// Cells of tasks that are answered by generation, and which of them count.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/report/merge.h"

namespace kvx::report {

// A cell of a task answered by generation (a needle's kind, length and depth; else the whole task)
// counts only where the base, in the same cache mode, has at least this mean score.
inline constexpr double kCeiling = 0.5;

// {"kind", "multikey4"}, ...; empty: the whole task.
using Place = std::vector<std::pair<std::string, std::string>>;

struct Cell {
  Place place;
  double base = 0;   // its mean score
  bool kept = true;  // the base reaches kCeiling, or there is no base
};

// Those of all series, in order of their first samples.
std::vector<Cell> cells_of(const std::vector<Series>& all, const Series* base);

// Mean scores, first readings, in the order of `cells`.
std::vector<std::optional<double>> cell_scores(const Series& series,
                                               const std::vector<Cell>& cells);

// The series without the samples of cells that do not count.
Series kept_samples(const Series& series, const std::vector<Cell>& cells);

}  // namespace kvx::report
