// The table of everything.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "eval/report/grid.h"

namespace kvx::report {
namespace {

// The value of a row in the overview.
std::string value_text(const Table& table, const Row& row) {
  const std::string mark = row.whole ? "" : " *";
  if (!std::isfinite(row.value)) return "-" + mark;
  if (table.kind == Kind::kWindows) return fmt::format("{:.3f}", row.value) + mark;
  if (table.kind == Kind::kErrors) return fmt::format("{:#.3g}", 100 * row.value) + mark;
  return fmt::format(fmt::runtime(table.kept() ? "{:.1f}" : "({:.1f})"), 100 * row.value) + mark;
}

const Row* find_row(const Table& table, const std::string& scheme) {
  for (const Row& row : table.rows)
    if (row.scheme == scheme) return &row;
  return nullptr;
}

bool counts(const Table& table) { return table.kind == Kind::kSamples && table.kept(); }

// The mean of a scheme's mean scores over the tasks of a mode that count; empty where it lacks one.
std::string mean_score(const std::vector<Table>& tables, const std::string& mode,
                       const std::string& scheme) {
  std::vector<double> scores;
  for (const Table& table : tables) {
    if (table.mode != mode || !counts(table)) continue;
    const Row* row = find_row(table, scheme);
    if (row == nullptr || !row->whole) return "";
    scores.push_back(row->value);
  }
  return fmt::format("{:.1f}", 100 * eval::mean(scores));
}

// Modes in which more than one task counts.
std::vector<std::string> averaged_modes(const std::vector<Table>& tables) {
  std::map<std::string, int> counted;
  for (const Table& table : tables) counted[table.mode] += counts(table) ? 1 : 0;
  std::vector<std::string> modes;
  for (const auto& [mode, count] : counted)
    if (count > 1) modes.push_back(mode);
  return modes;
}

// Of every scheme of the model in order; empty where it has no unit.
std::vector<std::string> bits_column(const Model& model, const Table& table) {
  std::vector<std::string> column;
  for (const std::string& scheme : model.schemes) {
    const Row* row = find_row(table, scheme);
    column.push_back(row == nullptr ? "" : fmt::format("{:.3f}", row->bits()));
  }
  return column;
}

}  // namespace

Grid overview(const Model& model, const std::vector<Table>& tables, const Numbers& numbers) {
  Grid grid;
  grid.head = {"#", "scheme"};
  for (const std::string& scheme : model.schemes) {
    const std::string label = label_of(model, scheme);
    const auto number = numbers.find(label);
    grid.rows.push_back({number == numbers.end() ? "" : fmt::format("{}", number->second), label});
  }
  std::vector<std::string> bits;
  for (const Table& table : tables) {
    // Once where tables that stand beside each other have the same.
    std::vector<std::string> own = bits_column(model, table);
    const bool fresh = own != bits;
    if (fresh) grid.head.push_back("bits");
    grid.head.push_back(title_of(table) + (table.kind == Kind::kWindows ? "" : " %"));
    for (size_t i = 0; i < grid.rows.size(); ++i) {
      const Row* row = find_row(table, model.schemes[i]);
      if (fresh) grid.rows[i].push_back(own[i]);
      grid.rows[i].push_back(row == nullptr ? "–" : value_text(table, *row));
    }
    bits = std::move(own);
  }
  for (const std::string& mode : averaged_modes(tables)) {
    grid.head.push_back(fmt::format("mean score, {} %", mode));
    for (size_t i = 0; i < grid.rows.size(); ++i)
      grid.rows[i].push_back(mean_score(tables, mode, model.schemes[i]));
  }
  return grid;
}

}  // namespace kvx::report
