#include "eval/report/evidence.h"

#include <fmt/core.h>

#include "eval/text_table.h"

namespace kvx::report {
namespace {

using eval::thousands;

void add_unit(const Unit& unit, Evidence& evidence) {
  ++evidence.units;
  if (unit.runs.size() > 1) ++evidence.equal;
  bool shadowed = false;
  for (const eval::BackendRun& run : unit.runs) {
    ++evidence.by_backend[run.backend];
    if (!run.shadow) continue;
    evidence.shadow += *run.shadow;
    shadowed = true;
  }
  if (shadowed) ++evidence.shadow_units;
}

}  // namespace

Evidence evidence_of(const Model& model) {
  Evidence evidence;
  for (const Task& task : model.tasks)
    for (const auto& [mode, all] : task.modes)
      for (const Series& series : all)
        for (const auto& [name, unit] : series.units) add_unit(*unit, evidence);
  for (const auto& run : model.runs) evidence.differences += run->differences;
  evidence.repeated = model.repeated;
  evidence.conflicts = model.conflicts;
  return evidence;
}

std::vector<std::string> evidence_text(const Evidence& evidence) {
  std::vector<std::string> text;
  std::string who;
  for (const auto& [backend, units] : evidence.by_backend)
    who += fmt::format("{}{} computed {}", who.empty() ? "" : ", ", backend, thousands(units));
  text.push_back(fmt::format("{} units: {}.", thousands(evidence.units), who));
  text.push_back(
      evidence.equal > 0
          ? fmt::format("Two backends computed {} of them: every value that is recorded, the hash "
                        "of every logit and the counted bytes are equal to the last bit.",
                        thousands(evidence.equal))
          : std::string("No unit was computed by two backends."));
  if (evidence.shadow_units > 0)
    text.push_back(fmt::format(
        "Of {} units the reference made sampled layers again: {} values of the cache (E0), {} "
        "decoded ones (E1), {} of attention (E2); {} differ.",
        thousands(evidence.shadow_units), thousands(evidence.shadow.cache),
        thousands(evidence.shadow.decoded), thousands(evidence.shadow.attention),
        thousands(evidence.shadow.mismatches)));
  text.push_back(evidence.differences == 0
                     ? std::string("No difference between backends is recorded.")
                     : fmt::format("DIFFERENT: {} verdicts in differences.jsonl.",
                                   thousands(evidence.differences)));
  if (evidence.repeated > 0)
    text.push_back(fmt::format("{} units were measured by more than one run, with equal values.",
                               thousands(evidence.repeated)));
  if (!evidence.conflicts.empty())
    text.push_back(fmt::format("DIFFERENT: {} units have other values in another run, {} first.",
                               thousands(static_cast<int64_t>(evidence.conflicts.size())),
                               evidence.conflicts.front()));
  return text;
}

}  // namespace kvx::report
