#include "eval/report/score.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/report/cells.h"
#include "eval/report/pairs.h"

namespace kvx::report {
namespace {

using eval::mean;

Kind kind_of(const Unit& unit) { return static_cast<Kind>(unit.scores.index()); }

// What every row has, whatever the task.
Row count_row(const Model& model, const Series& series, const Series& whole) {
  Row row;
  row.scheme = series.scheme;
  row.label = label_of(model, series.scheme);
  row.base = is_base(series.scheme);
  row.units = static_cast<int64_t>(series.units.size());
  std::map<std::string, std::array<double, 2>> speed;  // tokens and seconds
  for (const auto& [name, unit] : series.units) {
    for (size_t side = 0; side < 2; ++side) row.bytes[side] += unit->bytes[side];
    row.values += unit->values;
    row.nominal = unit->nominal;
    for (const eval::BackendRun& run : unit->runs) {
      speed[run.backend][0] += static_cast<double>(unit->tokens);
      speed[run.backend][1] += run.seconds;
    }
  }
  for (const auto& [backend, sums] : speed) row.tokens_per_second[backend] = sums[0] / sums[1];
  row.whole = std::all_of(whole.units.begin(), whole.units.end(),
                          [&](const auto& unit) { return series.units.contains(unit.first); });
  return row;
}

void score_windows(const Series& series, const Series* base, uint64_t seed, Row& row) {
  std::vector<double> nll, kl;
  int64_t same_top = 0, targets = 0;
  for (const auto& [name, unit] : series.units) {
    const WindowScores& window = std::get<WindowScores>(unit->scores);
    nll.push_back(window.nll_mean);
    kl.push_back(window.kl_mean);
    same_top += window.same_top;
    targets += window.targets;
  }
  row.value = std::exp(mean(nll));
  row.kl_mean = mean(kl);
  row.kl_interval = bootstrap(kl, seed);
  row.same_top = static_cast<double>(same_top) / static_cast<double>(targets);
  if (base == nullptr || row.base) {
    row.interval = bootstrap(nll, seed);
    if (row.interval) row.interval = {std::exp(row.interval->low), std::exp(row.interval->high)};
    return;
  }
  const Pairs pairs = pair_values(series, *base, window_nll);
  if (pairs.subject.empty()) return;
  const double base_value = std::exp(mean(pairs.base));
  row.delta = std::exp(mean(pairs.subject)) - base_value;
  row.delta_interval =
      eval::paired_bootstrap(pairs.subject, pairs.base, seed, perplexity_difference);
  if (row.whole && row.delta_interval)
    row.interval = {base_value + row.delta_interval->low, base_value + row.delta_interval->high};
}

void score_samples(const Series& series, const Series* base, const Table& table, uint64_t seed,
                   Row& row) {
  row.cells = cell_scores(series, table.cells);
  // Where no cell counts, the whole of it is shown, marked.
  const auto counted = [&](const Series& all) {
    return table.kept() ? kept_samples(all, table.cells) : all;
  };
  const Series kept = counted(series);
  std::map<std::string, std::vector<double>> by_filter;
  std::vector<std::string> filters;
  for (const auto& [name, unit] : kept.units)
    for (const Reading& reading : std::get<SampleScores>(unit->scores).readings) {
      if (!by_filter.contains(reading.filter)) filters.push_back(reading.filter);
      by_filter[reading.filter].push_back(reading.score);
    }
  for (const std::string& filter : filters) {
    const std::vector<double>& scores = by_filter[filter];
    row.readings.push_back({filter, mean(scores), score_interval(scores, seed)});
  }
  if (row.readings.empty()) {
    row.value = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  row.value = row.readings.front().value;
  row.interval = row.readings.front().interval;
  if (base == nullptr || row.base) return;
  const SampleDifference difference =
      compare_samples(pair_values(kept, counted(*base), sample_score), seed);
  row.delta = difference.delta;
  row.delta_interval = difference.interval;
  row.lost = difference.lost;
  row.gained = difference.gained;
  row.p = difference.p;
}

void score_errors(const Series& series, uint64_t seed, Row& row) {
  std::vector<double> out;
  for (const auto& [name, unit] : series.units) {
    const std::vector<LayerError>& layers = std::get<ErrorScores>(unit->scores).layers;
    if (row.layers.empty()) row.layers.resize(layers.size());
    for (size_t i = 0; i < layers.size(); ++i)
      for (size_t k = 0; k < layers[i].size(); ++k) row.layers[i][k] += layers[i][k];
    out.push_back(mean_output_error(*unit));
  }
  for (LayerError& layer : row.layers)
    for (double& error : layer) error /= static_cast<double>(out.size());
  row.value = mean(out);
  row.interval = bootstrap(out, seed);
}

// Every unit that a scheme has here.
Series union_of(const std::vector<Series>& all) {
  Series whole;
  for (const Series& series : all) whole.units.insert(series.units.begin(), series.units.end());
  return whole;
}

// What tells a task from others of its name: as few fields as do, hashes last.
std::string suffix_of(const Model& model, const Task& task) {
  std::vector<const Task*> others;
  for (const Task& other : model.tasks)
    if (other.name == task.name && other.identity != task.identity) others.push_back(&other);
  std::vector<std::string> fields{"protocol", "length", "context"};
  for (const bool hashes : {false, true})
    for (const auto& [field, value] : task.identity.items())
      if (field.ends_with("sha256") == hashes) fields.push_back(field);
  std::string suffix;
  for (const std::string& field : fields) {
    const nlohmann::json value = task.identity.value(field, nlohmann::json());
    const auto kept = std::remove_if(others.begin(), others.end(), [&](const Task* other) {
      return other->identity.value(field, nlohmann::json()) != value;
    });
    if (kept == others.end()) continue;
    others.erase(kept, others.end());
    suffix += fmt::format(", {} {:.16}", field,
                          value.is_string() ? value.get<std::string>() : value.dump());
  }
  return suffix;
}

// How many windows were asked for, as run.json of kvx-run/2 says; 0 where it does not.
int64_t windows_asked(const Model& model, const std::string& task) {
  int64_t most = 0;
  for (const auto& run : model.runs)
    if (const Json* windows = asked(*run, task, "windows"); windows != nullptr)
      if (windows->is_number_integer()) most = std::max(most, windows->get<int64_t>());
  return most;
}

void add_holes(const Model& model, Table& table) {
  // Of one identity alone: another may have asked for more windows.
  if (const int64_t windows = table.suffix.empty() ? windows_asked(model, table.task) : 0;
      table.units < windows)
    table.holes.push_back(fmt::format("{} of {} windows asked for", table.units, windows));
  for (const Row& row : table.rows)
    if (!row.whole)
      table.holes.push_back(fmt::format("{}: {} of {} units", row.label, row.units, table.units));
  for (const std::string& scheme : model.schemes)
    if (std::none_of(table.rows.begin(), table.rows.end(),
                     [&](const Row& row) { return row.scheme == scheme; }))
      table.missing.push_back(label_of(model, scheme));
}

}  // namespace

double Row::bits(size_t side) const {
  return 8.0 * static_cast<double>(bytes[side].total()) / static_cast<double>(values);
}

double Row::bits() const {
  return 4.0 * static_cast<double>(bytes[0].total() + bytes[1].total()) /
         static_cast<double>(values);
}

const Row* Table::base() const {
  return !rows.empty() && rows.front().base ? &rows.front() : nullptr;
}

bool Table::kept() const {
  return cells.empty() ||
         std::any_of(cells.begin(), cells.end(), [](const Cell& cell) { return cell.kept; });
}

Table score(const Model& model, const Task& task, const std::string& mode, uint64_t seed) {
  const std::vector<Series>& all = task.modes.at(mode);
  Table table;
  table.task = task.name;
  table.mode = mode;
  table.identity = task.identity;
  table.suffix = suffix_of(model, task);
  table.kind = kind_of(*all.front().units.begin()->second);
  const Series* base = is_base(all.front().scheme) ? &all.front() : nullptr;
  const Series whole = base != nullptr ? *base : union_of(all);
  table.units = static_cast<int64_t>(whole.units.size());
  if (table.kind == Kind::kSamples) table.cells = cells_of(all, base);
  for (const Series& series : all) {
    Row row = count_row(model, series, whole);
    if (table.kind == Kind::kWindows) score_windows(series, base, seed, row);
    if (table.kind == Kind::kSamples) score_samples(series, base, table, seed, row);
    if (table.kind == Kind::kErrors) score_errors(series, seed, row);
    table.rows.push_back(std::move(row));
  }
  add_holes(model, table);
  return table;
}

std::vector<Table> score_all(const Model& model) {
  const uint64_t seed = model.runs.front()->seed;
  std::vector<Table> tables;
  for (const Task& task : model.tasks)
    for (const auto& [mode, all] : task.modes) tables.push_back(score(model, task, mode, seed));
  return tables;
}

}  // namespace kvx::report
