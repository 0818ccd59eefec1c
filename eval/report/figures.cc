#include "eval/report/figures.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "eval/plot_scatter.h"
#include "eval/plot_svg.h"

namespace kvx::report {
namespace {

using eval::Scatter;
using eval::TemplateData;
using eval::TemplateObject;

constexpr size_t kLongName = 24;        // characters; a longer one never fits beside others
constexpr double kPerplexityCap = 1.5;  // times the base's
constexpr eval::Box kArea{52, 24, 470, 320};
constexpr double kWidth = 532, kHeight = 384;

std::string figure(double width, double height, const std::string& description,
                   const std::string& content) {
  return eval::render("figure.svg", TemplateObject{{"width", eval::coordinate(width)},
                                                   {"height", eval::coordinate(height)},
                                                   {"description", description},
                                                   {"content", content}});
}

// Names of the front, and of all where they are few; else numbers.
std::string draw(Scatter& scatter, const Numbers& numbers) {
  scatter.area = kArea;
  const std::vector<size_t> front = eval::front_of(scatter);
  for (size_t i = 0; i < scatter.points.size(); ++i) {
    eval::ScatterPoint& point = scatter.points[i];
    const bool named = scatter.points.size() <= kMostNames ||
                       (std::find(front.begin(), front.end(), i) != front.end() &&
                        point.label.size() <= kLongName);
    point.name = named ? point.label : fmt::format("{}", numbers.at(point.label));
  }
  std::vector<std::string> ordered(numbers.size()), families;
  for (const auto& [label, number] : numbers) ordered.at(number - 1) = label;
  for (const std::string& label : ordered) eval::family_color(label, families);
  return figure(kWidth, kHeight, scatter.title, eval::scatter_svg(scatter, families));
}

// A number that fits into a cell, of a share: per cent.
std::string percent(double share) {
  const double value = 100 * share;
  if (!std::isfinite(value)) return "-";
  if (value != 0 && value < 0.095) return value < 0.0095 ? "<.01" : fmt::format("{:.2f}", value);
  return value < 9.95 ? fmt::format("{:.2g}", value) : fmt::format("{:.0f}", value);
}

const std::string* part(const Cell& cell, const std::string& name) {
  for (const auto& [key, value] : cell.place)
    if (key == name) return &value;
  return nullptr;
}

// What names the cell beside length and depth.
std::string kind_of(const Cell& cell) {
  std::string kind;
  for (const auto& [key, value] : cell.place)
    if (key != "length" && key != "depth") kind += (kind.empty() ? "" : ", ") + value;
  return kind;
}

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
}

size_t index_of(const std::vector<std::string>& list, const std::string& text) {
  return static_cast<size_t>(std::find(list.begin(), list.end(), text) - list.begin());
}

HeatMap cell_map(const Table& table, const Row& row, const std::string& kind) {
  HeatMap map{
      fmt::format("{} by length and depth, {}", row.label, kind), "tokens", "depth %", {}, {}, {}};
  for (const Cell& cell : table.cells) {
    if (kind_of(cell) != kind) continue;
    add_once(map.columns, *part(cell, "length"));
    add_once(map.rows, *part(cell, "depth"));
  }
  std::sort(map.columns.begin(), map.columns.end(), ByName());
  std::sort(map.rows.begin(), map.rows.end(), ByName());
  map.cells.assign(map.rows.size(), std::vector<Shaded>(map.columns.size(), {"", 0, false}));
  for (size_t i = 0; i < table.cells.size(); ++i) {
    const Cell& cell = table.cells[i];
    if (kind_of(cell) != kind || !row.cells[i]) continue;
    map.cells[index_of(map.rows, *part(cell, "depth"))]
             [index_of(map.columns, *part(cell, "length"))] = {percent(*row.cells[i]),
                                                               1 - *row.cells[i], !cell.kept};
  }
  return map;
}

}  // namespace

std::string accuracy_svg(const Table& table, const Numbers& numbers) {
  const Row* base = table.base();
  Scatter scatter;
  const bool windows = table.kind == Kind::kWindows, samples = table.kind == Kind::kSamples;
  scatter.title = fmt::format("{}, {}",
                              windows   ? "Perplexity"
                              : samples ? "Mean score"
                                        : "Relative error of attention",
                              table.mode);
  scatter.more_is_better = samples;
  scatter.logarithmic = table.kind == Kind::kErrors;
  if (samples) scatter.range = {-0.04, 1.04};
  if (base != nullptr && std::isfinite(base->value) && !scatter.logarithmic) {
    scatter.base = base->value;
    if (windows) scatter.cap = kPerplexityCap * base->value;
  }
  for (const Row& row : table.rows) {
    if (row.base || !row.whole || !std::isfinite(row.value)) continue;
    if (scatter.logarithmic && row.value <= 0) continue;
    const bool bar = row.interval && std::isfinite(row.interval->low) &&
                     std::isfinite(row.interval->high) &&
                     !(scatter.logarithmic && row.interval->low <= 0);
    scatter.points.push_back({row.label, "", row.bits(), row.value,
                              bar ? row.interval->low : row.value,
                              bar ? row.interval->high : row.value});
  }
  return draw(scatter, numbers);
}

std::string divergence_svg(const Table& table, const Numbers& numbers) {
  Scatter scatter;
  scatter.title = fmt::format("KL divergence from fp:f32, nats, {}", table.mode);
  scatter.logarithmic = true;
  for (const Row& row : table.rows) {
    if (row.base || !row.whole || !std::isfinite(row.kl_mean) || row.kl_mean <= 0) continue;
    const bool bar =
        row.kl_interval && row.kl_interval->low > 0 && std::isfinite(row.kl_interval->high);
    scatter.points.push_back({row.label, "", row.bits(), row.kl_mean,
                              bar ? row.kl_interval->low : row.kl_mean,
                              bar ? row.kl_interval->high : row.kl_mean});
  }
  return draw(scatter, numbers);
}

std::string heat_svg(const HeatMap& map) {
  constexpr double kCellWidth = 40, kCellHeight = 24, kShades = 9;
  size_t widest = 0;
  for (const std::string& row : map.rows) widest = std::max(widest, row.size());
  const double left = 12 + eval::kLabelCharWidth * static_cast<double>(widest);
  const double top = map.y_title.empty() ? 4 : 18;
  const double bottom = top + kCellHeight * static_cast<double>(map.rows.size());
  const double right = left + kCellWidth * static_cast<double>(map.columns.size());
  TemplateData cells(TemplateData::type::list), rows(TemplateData::type::list),
      columns(TemplateData::type::list);
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = top + kCellHeight * static_cast<double>(r);
    rows.push_back(TemplateObject{
        {"x", eval::coordinate(left - 6)}, {"y", eval::coordinate(y + 16)}, {"name", map.rows[r]}});
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const Shaded& cell = map.cells[r][c];
      const double x = left + kCellWidth * static_cast<double>(c);
      const double shade = std::isfinite(cell.shade) ? std::clamp(cell.shade, 0.0, 1.0) : 0;
      cells.push_back(TemplateObject{
          {"x", eval::coordinate(x + 1)},
          {"y", eval::coordinate(y + 1)},
          {"to_x", eval::coordinate(x + kCellWidth - 1)},
          {"to_y", eval::coordinate(y + kCellHeight - 1)},
          {"text_x", eval::coordinate(x + kCellWidth / 2)},
          {"text_y", eval::coordinate(y + 16)},
          {"shade", cell.struck
                        ? std::string("s")
                        : fmt::format("{}", std::min(kShades - 1, std::floor(shade * kShades)))},
          {"struck", cell.struck},
          {"text", cell.text}});
    }
  }
  for (size_t c = 0; c < map.columns.size(); ++c)
    columns.push_back(
        TemplateObject{{"x", eval::coordinate(left + kCellWidth * (static_cast<double>(c) + 0.5))},
                       {"y", eval::coordinate(bottom + 15)},
                       {"name", map.columns[c]}});
  TemplateData data;
  data["cells"] = std::move(cells);
  data["rows"] = std::move(rows);
  data["columns"] = std::move(columns);
  data["width"] = eval::coordinate(kCellWidth - 2);
  data["height"] = eval::coordinate(kCellHeight - 2);
  data["x_title"] = map.x_title;
  data["y_title"] = map.y_title;
  data["middle"] = eval::coordinate((left + right) / 2);
  data["x_title_y"] = eval::coordinate(bottom + 31);
  return figure(right + 4, bottom + (map.x_title.empty() ? 22 : 38), map.description,
                eval::render("heat.svg", data));
}

std::vector<NamedMap> cell_maps(const Table& table, const Row& row) {
  std::vector<std::string> kinds;
  for (const Cell& cell : table.cells) {
    if (part(cell, "length") == nullptr || part(cell, "depth") == nullptr) return {};
    add_once(kinds, kind_of(cell));
  }
  std::vector<NamedMap> maps;
  for (const std::string& kind : kinds) maps.push_back({kind, cell_map(table, row, kind)});
  return maps;
}

std::vector<double> layer_errors(const Row& row, size_t name) {
  std::vector<double> errors;
  for (const LayerError& layer : row.layers) errors.push_back(layer[name]);
  return errors;
}

std::string strips_svg(const std::string& description, const ErrorLines& lines) {
  double least = 0, most = 0;
  for (const auto& [name, errors] : lines)
    for (const double error : errors) {
      if (!std::isfinite(error) || error <= 0) continue;
      least = least == 0 ? error : std::min(least, error);
      most = std::max(most, error);
    }
  HeatMap map{description, "layer", "", {}, {}, {}};
  for (const auto& [name, errors] : lines) {
    map.rows.push_back(name);
    map.cells.emplace_back();
    for (size_t i = 0; i < errors.size(); ++i) {
      add_once(map.columns, fmt::format("{}", i));
      const double error = errors[i];
      const bool shaded = error > 0 && most > least;
      map.cells.back().push_back(
          {percent(error), shaded ? std::log(error / least) / std::log(most / least) : 0, false});
    }
  }
  return heat_svg(map);
}

}  // namespace kvx::report
