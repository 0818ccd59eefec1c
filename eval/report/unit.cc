#include "eval/report/unit.h"

#include <fmt/core.h>

#include <cmath>
#include <stdexcept>

namespace kvx::report {
namespace {

constexpr size_t kMostLayers = 4096;
constexpr int64_t kMost = int64_t{1} << 50;  // of anything that is counted

[[noreturn]] void refuse(const std::string& problem) { throw std::runtime_error(problem); }

std::string text(const Json& json, const char* name) {
  const Json& field = json.at(name);
  if (!field.is_string()) refuse(fmt::format("{} is not a string", name));
  return field.get<std::string>();
}

int64_t count(const Json& json, const char* name, int64_t least = 0) {
  const Json& field = json.at(name);
  if (!field.is_number_integer() || field.get<int64_t>() < least || field.get<int64_t>() > kMost)
    refuse(fmt::format("{} is {}, not an integer from {} to {}", name, field.dump(), least, kMost));
  return field.get<int64_t>();
}

// Everything that is counted, timed or divided by.
void check_ranges(const Json& line) {
  count(line, "values", 1);
  count(line, "tokens", 1);
  for (const char* side : {"k", "v"}) {
    for (const auto& [item, bytes] : line.at("bytes").at(side).items())
      count(line.at("bytes").at(side), item.c_str());
    if (!(line.at("nominal_bits").at(side).get<double>() > 0))
      refuse(fmt::format("nominal_bits.{} is not above 0", side));
  }
}

WindowScores parse_window(const Json& line) {
  WindowScores scores{count(line, "targets", 1), eval::parse_exact_number(line.at("nll_mean")),
                      eval::parse_exact_number(line.at("kl_mean")), count(line, "same_top")};
  if (scores.same_top > scores.targets) refuse("same_top is above targets");
  return scores;
}

SampleScores parse_sample(const Json& line) {
  SampleScores scores;
  for (const auto& [name, value] : line.at("cell").items())
    scores.cell.emplace_back(name, value.get_ref<const std::string&>());
  for (const Json& reading : line.at("readings")) {
    const double score = eval::parse_exact_number(reading.at("score"));
    if (!(score >= 0 && score <= 1)) refuse(fmt::format("score is {}, not 0 to 1", score));
    scores.readings.push_back({text(reading, "filter"), score});
  }
  if (scores.readings.empty()) refuse("no readings");
  return scores;
}

ErrorScores parse_errors(const Json& line) {
  ErrorScores scores;
  for (const Json& layer : line.at("layers")) {
    LayerError errors;
    for (size_t i = 0; i < errors.size(); ++i)
      errors[i] = eval::parse_exact_number(layer.at(kErrorNames[i]));
    scores.layers.push_back(errors);
  }
  if (scores.layers.empty() || scores.layers.size() > kMostLayers)
    refuse(fmt::format("{} layers", scores.layers.size()));
  return scores;
}

// Task ppl has windows, task error layers, every other samples.
std::variant<WindowScores, SampleScores, ErrorScores> parse_scores(const Json& line,
                                                                   const std::string& task) {
  const std::string schema = text(line, "schema");
  const bool window = schema == "kvx-result/1" || schema == "kvx-result/2";
  if (window && task == "ppl") return parse_window(line);
  if (schema == "kvx-error/1" && task == "error") return parse_errors(line);
  if (schema == "kvx-sample/1" && task != "ppl" && task != "error") return parse_sample(line);
  throw std::runtime_error(fmt::format("schema is {} of task {}", schema, task));
}

std::string content_of(Json line) {
  for (const char* name : {"schema", "key", "task", "mode", "window", "sample", "scheme", "timing",
                           "backends", "equal", "positions"})
    line.erase(name);
  return line.dump();
}

}  // namespace

Unit parse_unit(const Json& line) {
  Unit unit;
  check_ranges(line);
  eval::read_unit(line, unit);
  for (const eval::BackendRun& run : unit.runs)
    if (!(run.seconds > 0)) refuse(fmt::format("seconds is {}, not above 0", run.seconds));
  unit.scores = parse_scores(line, eval::task_name(unit.key.task));
  unit.key.item = std::holds_alternative<SampleScores>(unit.scores)
                      ? text(line, "sample")
                      : fmt::format("{}", count(line, "window"));
  unit.content = content_of(line);
  return unit;
}

bool same_content(const Unit& a, const Unit& b) {
  if (a.content == b.content) return true;
  const Json left = Json::parse(a.content), right = Json::parse(b.content);
  for (const auto& [name, value] : left.items())
    if (right.contains(name) && right.at(name) != value) return false;
  return true;
}

}  // namespace kvx::report
