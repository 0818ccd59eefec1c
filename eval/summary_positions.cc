// The scores by position of a summary for people and as CSV.
#include <fmt/core.h>

#include <functional>

#include "eval/summary.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

// One line a scheme, one column a bin.
std::string matrix(const std::string& title, const ModeSummary& mode, bool with_base,
                   const std::function<std::string(const PositionBin&)>& cell) {
  std::vector<std::vector<std::string>> rows{{title}};
  for (const PositionBin& bin : mode.rows.front().bins)
    rows.front().push_back(fmt::format("{}-{}", bin.first, bin.end - 1));
  for (const SchemeRow& row : mode.rows) {
    if (row.base && !with_base) continue;
    rows.push_back({row.label});
    for (const PositionBin& bin : row.bins) rows.back().push_back(cell(bin));
  }
  return rows.size() > 1 ? "\n" + align_columns(rows, 1) : "";
}

}  // namespace

std::string positions_table(const Summary& summary) {
  std::string text;
  for (const ModeSummary& mode : summary.modes) {
    text += fmt::format("\nby position in the window, mode {}\n", mode.mode);
    text += matrix("ppl", mode, true,
                   [](const PositionBin& bin) { return fmt::format("{:.4f}", bin.ppl); });
    text += matrix("KL mean", mode, false,
                   [](const PositionBin& bin) { return fmt::format("{:#.3g}", bin.kl_mean); });
    text += matrix("top-1 %", mode, false, [](const PositionBin& bin) {
      return fmt::format("{:.2f}", 100 * bin.same_top);
    });
  }
  return text;
}

std::string positions_csv(const Summary& summary) {
  std::string text = "mode,scheme,first,end,targets,nll,ppl,delta_ppl,kl_mean,same_top\n";
  for (const ModeSummary& mode : summary.modes)
    for (const SchemeRow& row : mode.rows)
      for (const PositionBin& bin : row.bins)
        text += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", mode.mode, csv_quoted(row.scheme),
                            bin.first, bin.end, bin.targets, bin.nll, bin.ppl, bin.delta_ppl,
                            bin.kl_mean, bin.same_top);
  return text;
}

}  // namespace kvx::eval
