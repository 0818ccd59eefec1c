#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eval/reproduce/result_text.h"

namespace kvx::reproduce {
namespace {

std::string title_of(const Metric& metric) {
  return fmt::format("{}, {}", metric.kind->title, metric.mode);
}

std::string with_sign(const std::string& number) {
  return number.starts_with('-') || number == "nan" ? number : "+" + number;
}

std::string interval_text(const std::optional<eval::Interval>& interval, const auto& number) {
  return interval ? fmt::format("[{}, {}]", number(interval->low), number(interval->high)) : "";
}

// Some columns have references of their own in some rows; these are named with the number.
std::string paper_text(const PaperColumn& column, const RecipeRow& row) {
  const auto found = row.paper.find(column.id);
  if (found == row.paper.end()) return "";
  const PaperValue& paper = found->second;
  return paper.reference == column.reference ? fmt::format("{}", paper.value)
                                             : fmt::format("{} ({})", paper.value, paper.reference);
}

std::string step_number(const Claim& claim, double value) {
  return claim.relative ? fmt::format("{:+.2f} %", 100 * value)
                        : with_sign(claim.metric.text(value));
}

// Cells behind verdict, claim and reference.
std::vector<std::string> step_cells(const Claim& claim, const Step& step) {
  const auto number = [&claim](double value) { return step_number(claim, value); };
  return {title_of(claim.metric), number(step.value), interval_text(step.interval, number),
          claim.kind == ClaimKind::kOrdering ? "below 0"
          : step.limit == 0                  ? "0"
                                             : number(step.limit),
          fmt::format("{}", step.units)};
}

void add_row(report::Grid& grid, std::vector<std::string> first,
             const std::vector<std::string>& rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  grid.rows.push_back(std::move(first));
}

}  // namespace

report::Grid table_grid(const ResultTable& result) {
  const RecipeTable& table = result.table;
  const auto has_bits = [](const RecipeRow& row) { return !row.bits.empty(); };
  const bool paper_bits = std::ranges::any_of(table.rows, has_bits);
  report::Grid grid;
  grid.head = {"", "scheme"};
  if (paper_bits) grid.head.push_back("paper: bits");
  for (const PaperColumn& column : table.columns)
    grid.head.push_back(fmt::format("paper: {} ({})", column.title, column.reference));
  grid.head.push_back("bits/value");
  for (const Metric& metric : table.metrics) {
    grid.head.push_back(title_of(metric));
    if (metric.kind->exponential)
      grid.head.insert(grid.head.end(), {fmt::format("minus {}", kBaseRow), "95 %"});
  }
  for (const ResultRow& row : result.rows) {
    std::vector<std::string> cells{row.row.label, row.scheme};
    if (paper_bits) cells.push_back(row.row.bits);
    for (const PaperColumn& column : table.columns) cells.push_back(paper_text(column, row.row));
    cells.push_back(fmt::format("{:.3f}", row.bits));
    for (size_t i = 0; i < row.values.size(); ++i) {
      const Metric& metric = table.metrics[i];
      const Measured& measured = row.values[i];
      const auto number = [&metric](double value) { return with_sign(metric.text(value)); };
      cells.push_back(metric.text(measured.value));
      if (!metric.kind->exponential) continue;
      cells.push_back(measured.delta ? number(*measured.delta) : "base");
      cells.push_back(interval_text(measured.interval, number));
    }
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

report::Grid claims_grid(const std::vector<Judgement>& judgements) {
  report::Grid grid;
  grid.left = 3;
  grid.head = {"verdict", "claim", "paper", "metric", "larger by", "95 %", "allowed", "windows"};
  for (const Judgement& judgement : judgements) {
    const Claim& claim = judgement.claim;
    const std::string verdict(verdict_name(judgement.verdict));
    if (claim.kind != ClaimKind::kLadder) {
      add_row(grid, {verdict, claim.text, claim.reference},
              step_cells(claim, judgement.steps.front()));
      continue;
    }
    grid.rows.push_back({verdict, claim.text, claim.reference, "", "", "", "", ""});
    for (const Step& step : judgement.steps)
      add_row(grid,
              {fmt::format("- {}", verdict_name(step.verdict)),
               fmt::format("{} beside {}", step.subject, step.base), ""},
              step_cells(claim, step));
  }
  return grid;
}

std::string verdicts_line(const Result& result) {
  return fmt::format("{} claims: {} held, {} not held, {} not distinguishable",
                     result.judgements.size(), result.count(Verdict::kHeld),
                     result.count(Verdict::kNotHeld), result.count(Verdict::kNotDistinguishable));
}

std::vector<std::string> protocol_lines(const Result& result) {
  const RecipeProtocol& protocol = result.protocol;
  std::string windows;
  if (protocol.has("ppl")) windows = fmt::format("{} of task ppl", protocol.windows);
  if (protocol.has("error"))
    windows +=
        fmt::format("{}{} of task error", windows.empty() ? "" : ", ", protocol.error_windows);
  std::vector<std::string> lines{
      fmt::format("Model: {}.", report::model_name(result.section().model)),
      fmt::format("Windows of {} tokens: {}. Cache modes: {}.", protocol.length, windows,
                  fmt::join(protocol.modes, ", ")),
      fmt::format("Intervals: 95 %, paired bootstrap over windows, seed {}. Verdicts are not "
                  "corrected for their number.",
                  result.seed)};
  lines.insert(lines.end(), result.recipe.notes.begin(), result.recipe.notes.end());
  return lines;
}

}  // namespace kvx::reproduce
