#include "eval/report/cells.h"

#include <algorithm>

#include "eval/report/pairs.h"
#include "eval/stats.h"

namespace kvx::report {
namespace {

// What of a sample's cell is judged by itself: where a needle stands. Other tasks are one cell.
Place place_of(const Unit& unit) {
  const auto& cell = std::get<SampleScores>(unit.scores).cell;
  const auto has = [&](const char* name) {
    return std::any_of(cell.begin(), cell.end(),
                       [&](const auto& one) { return one.first == name; });
  };
  return has("length") && has("depth") ? cell : Place{};
}

}  // namespace

Series kept_samples(const Series& series, const std::vector<Cell>& cells) {
  Series kept{series.scheme, {}};
  for (const auto& [name, unit] : series.units) {
    const auto place = place_of(*unit);
    const auto cell = std::find_if(cells.begin(), cells.end(),
                                   [&](const Cell& one) { return one.place == place; });
    if (cell == cells.end() || cell->kept) kept.units.emplace(name, unit);
  }
  return kept;
}

std::vector<std::optional<double>> cell_scores(const Series& series,
                                               const std::vector<Cell>& cells) {
  std::vector<std::vector<double>> scores(cells.size());
  for (const auto& [name, unit] : series.units) {
    const auto place = place_of(*unit);
    for (size_t i = 0; i < cells.size(); ++i)
      if (place == cells[i].place) scores[i].push_back(sample_score(*unit));
  }
  std::vector<std::optional<double>> means(cells.size());
  for (size_t i = 0; i < cells.size(); ++i)
    if (!scores[i].empty()) means[i] = eval::mean(scores[i]);
  return means;
}

std::vector<Cell> cells_of(const std::vector<Series>& all, const Series* base) {
  std::vector<Cell> cells;
  for (const Series& series : all)
    for (const auto& [name, unit] : series.units) {
      const auto place = place_of(*unit);
      if (std::none_of(cells.begin(), cells.end(),
                       [&](const Cell& cell) { return cell.place == place; }))
        cells.push_back({place, 0, true});
    }
  if (base == nullptr) return cells;
  const auto scores = cell_scores(*base, cells);
  for (size_t i = 0; i < scores.size(); ++i) {
    cells[i].base = scores[i].value_or(0);
    cells[i].kept = cells[i].base >= kCeiling;
  }
  return cells;
}

}  // namespace kvx::report
