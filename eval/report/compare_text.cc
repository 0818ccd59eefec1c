// A comparison for people and for continuous integration.
#include <fmt/core.h>

#include "eval/junit.h"
#include "eval/report/compare.h"
#include "eval/report/grid.h"
#include "eval/text_table.h"

namespace kvx::report {
namespace {

std::string test_text(const Change& change) {
  if (change.equal == change.units) return "equal bits";
  if (change.p) return fmt::format("p {:#.2g}", *change.p);
  if (!change.interval) return "not tested";
  return fmt::format("[{:+.4g}, {:+.4g}]", change.interval->low, change.interval->high);
}

std::string bits_text(const Change& change) {
  if (change.bits_after == change.bits_before) return fmt::format("{:.3f}", change.bits_after);
  return fmt::format("{:.3f} -> {:.3f}", change.bits_before, change.bits_after);
}

std::string speed_text(const Change& change) {
  std::string text;
  for (const Speed& speed : change.speeds)
    text += fmt::format("{}{} {:.2f}{}", text.empty() ? "" : ", ", speed.backend,
                        speed.after / speed.before, speed.same_machine ? "" : "?");
  return text;
}

std::string join(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& one : list) text += (text.empty() ? "" : "; ") + one;
  return text;
}

}  // namespace

std::string comparison_text(const Comparison& comparison) {
  Grid grid;
  grid.left = 3;
  grid.head = {"task",  "mode", "scheme", "units", "equal",  "before",
               "after", "test", "bits",   "speed", "verdict"};
  for (const Change& change : comparison.changes)
    grid.rows.push_back({change.task, change.mode, change.scheme, fmt::format("{}", change.units),
                         fmt::format("{}", change.equal), fmt::format("{:.6g}", change.before),
                         fmt::format("{:.6g}", change.after), test_text(change), bits_text(change),
                         speed_text(change),
                         !change.regressions.empty() ? "WORSE"
                         : change.others.empty()     ? "same"
                                                     : "changed"});
  std::string text = grid_text(grid);
  for (const Change& change : comparison.changes) {
    const std::string name = fmt::format("{}, {}: {}", change.task, change.mode, change.scheme);
    for (const std::string& worse : change.regressions)
      text += fmt::format("WORSE    {}: {}\n", name, worse);
    for (const std::string& other : change.others)
      text += fmt::format("changed  {}: {}\n", name, other);
  }
  for (const std::string& one : comparison.only_before)
    text += fmt::format("baseline alone  {}\n", one);
  for (const std::string& one : comparison.only_after)
    text += fmt::format("not in baseline {}\n", one);
  if (comparison.changes.empty()) return text + "nothing in common with the baseline\n";
  return text + fmt::format("{} compared, {} worse\n", comparison.changes.size(),
                            comparison.regressions());
}

std::string comparison_junit(const Comparison& comparison) {
  std::vector<eval::JunitSuite> suites;
  for (const Change& change : comparison.changes) {
    const std::string name = fmt::format("{}, {}", change.task, change.mode);
    if (suites.empty() || suites.back().name != name) suites.push_back({name, {}, {}});
    eval::JunitCase one{
        fmt::format("kvx.report.{}.{}", change.task, change.mode), change.scheme, {}, {}, ""};
    if (!change.regressions.empty())
      one.failure = {join(change.regressions), fmt::format("{} of {} units equal; {}", change.equal,
                                                           change.units, test_text(change))};
    suites.back().cases.push_back(std::move(one));
  }
  for (const std::string& alone : comparison.only_before) {
    if (suites.empty() || suites.back().name != "baseline alone")
      suites.push_back({"baseline alone", {}, {}});
    suites.back().cases.push_back({"kvx.report", alone, {}, {}, "measured in the baseline alone"});
  }
  if (comparison.changes.empty())
    suites.push_back({"common",
                      {},
                      {{"kvx.report",
                        "something in common",
                        {},
                        eval::JunitFailure{"nothing in common with the baseline", ""},
                        ""}}});
  return eval::junit_text(suites);
}

}  // namespace kvx::report
