#include "eval/reproduce/result.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "sim/api/error.h"

namespace kvx::reproduce {
namespace {

using report::Model;
using report::Series;

// Whether a window is one of the first `count`.
bool is_among(const std::string& item, int64_t count) {
  int64_t index = 0;
  const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), index);
  return error == std::errc() && end == item.data() + item.size() && index < count;
}

void keep_windows(Model& model, const RecipeProtocol& protocol) {
  for (report::Task& task : model.tasks) {
    const int64_t windows = task.name == "ppl" ? protocol.windows : protocol.error_windows;
    for (auto& [mode, all] : task.modes)
      for (Series& series : all)
        std::erase_if(series.units,
                      [&](const auto& unit) { return !is_among(unit.first, windows); });
    for (auto& [mode, all] : task.modes)
      std::erase_if(all, [](const Series& series) { return series.units.empty(); });
    std::erase_if(task.modes, [](const auto& mode) { return mode.second.empty(); });
  }
}

const Series& series_of(const Model& model, const Metric& metric, const std::string& scheme) {
  for (const report::Task& task : model.tasks) {
    const auto mode = task.modes.find(metric.mode);
    if (task.name != metric.kind->task || mode == task.modes.end()) continue;
    for (const Series& series : mode->second)
      if (scheme == kBaseRow ? report::is_base(series.scheme) : series.scheme == scheme)
        return series;
  }
  throw environment_error(
      fmt::format("the run folder has no units of {} for {}", metric.str(), scheme));
}

const report::Row& report_row(const report::Section& section, const Metric& metric,
                              const std::string& scheme) {
  for (const report::Table& table : section.tables)
    if (table.task == metric.kind->task && table.mode == metric.mode)
      for (const report::Row& row : table.rows)
        if (row.scheme == scheme) return row;
  throw std::logic_error("a series has a row");
}

Measured measure(const Model& model, const Metric& metric, const std::string& scheme,
                 uint64_t seed) {
  const report::Pairs pairs = pair_values(series_of(model, metric, scheme),
                                          series_of(model, metric, kBaseRow), metric.kind->value);
  const auto delta = [&metric](double subject, double base) {
    return metric.of_mean(subject) - metric.of_mean(base);
  };
  Measured out;
  out.value = metric.of_mean(eval::mean(pairs.subject));
  if (report::is_base(scheme)) return out;
  out.delta = delta(eval::mean(pairs.subject), eval::mean(pairs.base));
  out.interval = eval::paired_bootstrap(pairs.subject, pairs.base, seed, delta);
  return out;
}

}  // namespace

int64_t Result::count(Verdict verdict) const {
  return std::ranges::count(judgements, verdict, &Judgement::verdict);
}

Result evaluate(const Recipe& recipe, const RecipeProtocol& protocol, const Schemes& schemes,
                Model model) {
  Result result;
  result.recipe = recipe;
  result.protocol = protocol;
  result.seed = model.runs.front()->seed;
  keep_windows(model, protocol);
  result.sections.push_back(report::make_section(std::move(model)));
  const Model& kept = result.section().model;
  for (const RecipeTable& table : recipe.tables) {
    ResultTable out{table, {}};
    for (const RecipeRow& row : table.rows) {
      const std::string& scheme = schemes.at(row.id);
      ResultRow& one = out.rows.emplace_back();
      one.row = row;
      one.scheme = eval::scheme_label(scheme);
      for (const Metric& metric : table.metrics)
        one.values.push_back(measure(kept, metric, scheme, result.seed));
      const report::Row& counted = report_row(result.section(), table.metrics.front(), scheme);
      one.bits = counted.bits();
      one.sides = {counted.bits(0), counted.bits(1)};
    }
    result.tables.push_back(std::move(out));
  }
  for (const Claim& claim : recipe.claims)
    result.judgements.push_back(judge(
        claim,
        [&](const std::string& row) -> const Series& {
          return series_of(kept, claim.metric, row == kBaseRow ? row : schemes.at(row));
        },
        result.seed));
  return result;
}

}  // namespace kvx::reproduce
