#include "eval/check/report.h"

#include <fmt/core.h>

#include "eval/junit.h"
#include "eval/text_table.h"

namespace kvx::check {
namespace {

using eval::Json;
constexpr size_t kMostInWords = 20;

struct LevelCount {
  int64_t cases = 0, mismatches = 0;
};

struct SchemeCount {
  std::string scheme;
  int64_t cases = 0, mismatches = 0, mistrusted = 0;
  std::array<LevelCount, kLevels> levels;
  double seconds = 0;
  Events events;
};

std::string scheme_of(const CaseResult& result) {
  return result.one.scheme.substr(0, result.one.scheme.find(':'));
}

// In the order of the cases.
std::vector<SchemeCount> count(const Report& report) {
  std::vector<SchemeCount> counts;
  for (const CaseResult& result : report.cases) {
    if (!result.judged) continue;
    const std::string scheme = scheme_of(result);
    auto at = std::find_if(counts.begin(), counts.end(),
                           [&](const SchemeCount& one) { return one.scheme == scheme; });
    if (at == counts.end()) {
      counts.emplace_back();
      at = counts.end() - 1;
      at->scheme = scheme;
    }
    ++at->cases;
    at->mismatches += result.judgement.good() ? 0 : 1;
    at->mistrusted += result.mistrusted ? 1 : 0;
    at->seconds += result.judgement.seconds;
    at->events |= result.judgement.events;
    for (size_t level = 0; level < kLevels; ++level) {
      const LevelVerdict& verdict = result.judgement.levels[level];
      at->levels[level].cases += verdict.compared > 0 ? 1 : 0;
      at->levels[level].mismatches += verdict.mismatches > 0 ? 1 : 0;
    }
  }
  return counts;
}

}  // namespace

std::string report_text(const Report& report) {
  std::vector<std::vector<std::string>> rows = {
      {"scheme", "cases", "E0", "differ", "E1", "differ", "E2", "differ", "MISTRUSTED"}};
  for (const SchemeCount& one : count(report)) {
    std::vector<std::string> row = {one.scheme, eval::thousands(one.cases)};
    for (const LevelCount& level : one.levels) {
      row.push_back(eval::thousands(level.cases));
      row.push_back(eval::thousands(level.mismatches));
    }
    row.push_back(eval::thousands(one.mistrusted));
    rows.push_back(row);
  }
  std::string text = eval::align_columns(rows, 1);
  for (const std::string& scheme : report.without) text += fmt::format("{}: no kernels\n", scheme);
  for (const std::string& scheme : report.other_arithmetic)
    text += fmt::format("{}: not in this arithmetic\n", scheme);
  size_t told = 0;
  for (const CaseResult& result : report.cases) {
    if (!result.judged || result.judgement.good()) continue;
    if (told++ == kMostInWords) break;
    text += fmt::format("\nFAILED {}: {}\n  {}\n  {}\n", result.one.name, case_text(result.one),
                        result.judgement.first(), result.repro);
  }
  if (report.mismatches() > static_cast<int64_t>(kMostInWords))
    text += fmt::format("\n... {} failures in all\n", report.mismatches());
  told = 0;
  for (const CaseResult& result : report.cases)
    if (result.mistrusted && told++ < kMostInWords)
      text += fmt::format("\nMISTRUSTED {}: {}\n  it shows only: {}\n", result.one.name,
                          case_text(result.one), events_text(result.judgement.events));
  for (const std::string& lacking : report.lacking)
    text += fmt::format("\nMISTRUSTED family {}: shown by none of its cases\n", lacking);
  return text;
}

Json report_json(const Report& report) {
  Json schemes = Json::array();
  for (const SchemeCount& one : count(report)) {
    Json levels;
    for (size_t level = 0; level < kLevels; ++level)
      levels[level_name(static_cast<Level>(level))] = {
          {"cases", one.levels[level].cases}, {"mismatches", one.levels[level].mismatches}};
    schemes.push_back({{"scheme", one.scheme},
                       {"cases", one.cases},
                       {"mismatches", one.mismatches},
                       {"mistrusted", one.mistrusted},
                       {"levels", levels},
                       {"events", event_names(one.events)}});
  }
  Json failures = Json::array(), mistrusted = Json::array();
  for (const CaseResult& result : report.cases) {
    if (result.mistrusted)
      mistrusted.push_back({{"name", result.one.name},
                            {"case", case_text(result.one)},
                            {"events", event_names(result.judgement.events)}});
    if (!result.judged || result.judgement.good()) continue;
    Json failure = {{"name", result.one.name}, {"case", case_text(result.one)}};
    for (size_t level = 0; level < kLevels; ++level)
      if (result.judgement.levels[level].mismatches > 0)
        failure[level_name(static_cast<Level>(level))] = result.judgement.levels[level].first;
    if (result.shrunk) failure["shrunk"] = case_text(*result.shrunk);
    if (!result.file.empty()) failure["file"] = result.file;
    failure["repro"] = result.repro;
    failures.push_back(failure);
  }
  return {{"good", report.good()},
          {"subject", report.subject},
          {"seconds", report.seconds},
          {"schemes", schemes},
          {"without", report.without},
          {"failures", failures},
          {"mistrusted", mistrusted},
          {"lacking", report.lacking},
          {"other_arithmetic", report.other_arithmetic}};
}

std::string report_junit(const Report& report) {
  std::vector<eval::JunitSuite> suites;
  for (const SchemeCount& one : count(report)) {
    eval::JunitSuite suite{one.scheme, one.seconds, {}};
    for (const CaseResult& result : report.cases) {
      if (!result.judged || scheme_of(result) != one.scheme) continue;
      eval::JunitCase item{
          "kvx.check." + one.scheme, result.one.name, result.judgement.seconds, {}, ""};
      if (!result.judgement.good()) {
        item.failure = {result.judgement.first(), result.repro};
      } else if (result.mistrusted) {
        item.failure = {"MISTRUSTED: hit none of the events it is for", case_text(result.one)};
      }
      suite.cases.push_back(std::move(item));
    }
    suites.push_back(std::move(suite));
  }
  for (const std::string& scheme : report.without)
    suites.push_back({scheme, {}, {{"kvx.check." + scheme, scheme, {}, {}, "no kernels"}}});
  for (const std::string& scheme : report.other_arithmetic)
    suites.push_back(
        {scheme, {}, {{"kvx.check." + scheme, scheme, {}, {}, "not in this arithmetic"}}});
  for (const std::string& lacking : report.lacking)
    suites.push_back({"events",
                      {},
                      {{"kvx.check",
                        lacking,
                        {},
                        eval::JunitFailure{"shown by no case of the family", ""},
                        ""}}});
  return eval::junit_text(suites);
}

}  // namespace kvx::check
