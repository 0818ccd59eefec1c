// The pictures of a report, as SVG inside a page: its style sheet gives lines, texts and shades
// their colours.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/report/score.h"

namespace kvx::report {

// Numbers of schemes, the same in all pictures and tables of a model.
using Numbers = std::map<std::string, size_t>;  // by label

// More points than this, and those that are not on the front bear their number alone; so do
// those with very long names.
inline constexpr size_t kMostNames = 10;

// Perplexity, mean score or error against counted bits. Whole rows alone.
std::string accuracy_svg(const Table& table, const Numbers& numbers);
// Mean KL divergence, logarithmic. Only of windows.
std::string divergence_svg(const Table& table, const Numbers& numbers);

// Rows and columns of shaded cells with a number in each.
struct Shaded {
  std::string text;
  double shade = 0;     // 0 to 1; beyond it is cut off
  bool struck = false;  // does not count
};
struct HeatMap {
  std::string description;  // for those who do not see it
  std::string x_title, y_title;
  std::vector<std::string> columns, rows;
  std::vector<std::vector<Shaded>> cells;  // by row
};
std::string heat_svg(const HeatMap& map);

// Scores of a row's cells over length and depth, one map for each of what else names a cell; empty
// where cells have neither. The darker, the lower the score; struck: fp:f32 fails.
struct NamedMap {
  std::string name;  // "multikey4"
  HeatMap map;
};
std::vector<NamedMap> cell_maps(const Table& table, const Row& row);

// Errors of each layer in per cent, a line for each name; the darker, the larger, on one
// logarithmic scale.
using ErrorLines = std::vector<std::pair<std::string, std::vector<double>>>;
std::string strips_svg(const std::string& description, const ErrorLines& lines);
// Of one of kErrorNames, by layer.
std::vector<double> layer_errors(const Row& row, size_t name);

}  // namespace kvx::report
