// The divergence statistics of a summary for people and as CSV.
#include <fmt/core.h>

#include "eval/summary.h"
#include "eval/text_table.h"

namespace kvx::eval {

std::string divergences_text(const Summary& summary) {
  std::string text;
  for (const ModeSummary& mode : summary.modes)
    for (const SchemeRow& row : mode.rows)
      for (const Scope& scope : row.scopes)
        text +=
            fmt::format("\n{} against fp:f32, mode {}, {}: {} positions\n{}", row.label, mode.mode,
                        scope.name == "half" ? "second halves" : "all scored positions",
                        thousands(scope.divergence.positions), divergence_text(scope.divergence));
  return text;
}

std::string divergences_csv(const Summary& summary) {
  std::string text = "mode,scheme,scope,positions";
  for (const auto& [name, value] : divergence_fields({})) text += "," + name;
  text += "\n";
  for (const ModeSummary& mode : summary.modes)
    for (const SchemeRow& row : mode.rows)
      for (const Scope& scope : row.scopes) {
        text += fmt::format("{},{},{},{}", mode.mode, csv_quoted(row.scheme), scope.name,
                            scope.divergence.positions);
        for (const auto& [name, value] : divergence_fields(scope.divergence))
          text += fmt::format(",{}", value);
        text += "\n";
      }
  return text;
}

}  // namespace kvx::eval
