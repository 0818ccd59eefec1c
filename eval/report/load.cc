#include "eval/report/load.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <stdexcept>

#include "eval/files.h"
#include "sim/api/error.h"

namespace kvx::report {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCommon{"arithmetic", "model_sha256", "tokenizer_sha256", "nonfinite",
                             "rope_steps_sha256"};

// Of kvx-run/1: one identity for model and task.
void split_identity(const Json& identity, Run& run) {
  nlohmann::json task = identity;
  for (const char* name : kCommon) task.erase(name);
  const std::string name = identity.at("task");
  task.emplace("protocol", "gptq");
  task.emplace("context", 0);
  run.tasks.emplace(eval::task_name(name), std::move(task));
}

void read_header(const Json& header, Run& run) {
  const std::string schema = header.at("schema");
  if (schema != "kvx-run/1" && schema != "kvx-run/2")
    throw std::runtime_error(fmt::format("schema is {}", schema));
  const Json& identity = header.at("identity");
  for (const char* name : kCommon) run.identity[name] = identity.at(name);
  if (!identity.at("model_sha256").is_string())
    throw std::runtime_error("identity.model_sha256 is no string");
  if (schema == "kvx-run/1") {
    split_identity(identity, run);
  } else {
    for (const auto& [name, task] : header.at("tasks").items()) run.tasks.emplace(name, task);
  }
  for (const auto& [name, task] : run.tasks)
    if (!task.is_object()) throw std::runtime_error(fmt::format("task {} is no object", name));
  run.schemes = header.at("schemes").get<std::vector<std::string>>();
  if (!header.at("seed").is_number_unsigned()) throw std::runtime_error("seed is no integer");
  run.seed = header.at("seed");
  if (!header.at("sessions").is_array()) throw std::runtime_error("sessions is no list");
  if (!header.at("model").is_object()) throw std::runtime_error("model is no object");
  run.header = header;
}

void check_task(const Unit& unit, const Run& run) {
  const auto task = run.tasks.find(eval::task_name(unit.key.task));
  if (task == run.tasks.end())
    throw std::runtime_error(fmt::format("task {} is not one of run.json's", unit.key.task));
  if (task->second.contains("task") && task->second.at("task") != unit.key.task)
    throw std::runtime_error(
        fmt::format("task is {}, run.json's is {}", unit.key.task, task->second.at("task").dump()));
  if (const auto* errors = std::get_if<ErrorScores>(&unit.scores))
    if (errors->layers.size() != run.header.at("model").at("layers"))
      throw std::runtime_error(fmt::format("{} layers, the model has {}", errors->layers.size(),
                                           run.header.at("model").at("layers").dump()));
}

// Calls `use` with every line and its number; what it throws names the line, unless it is the
// last one, which a killed process may have torn.
void each_line(const std::string& file, Run& run,
               const std::function<void(std::string_view)>& use) {
  const std::string content = eval::read_file(file);
  const std::string_view text = content;
  int64_t number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t newline = text.find('\n', at);
    const size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
    try {
      if (newline == std::string_view::npos) throw std::runtime_error("no line end");
      use(text.substr(at, newline - at));
    } catch (const std::exception& error) {
      if (end != text.size())
        throw environment_error(fmt::format("{}: line {}: {}", file, number, error.what()));
      run.notes.push_back(fmt::format("{}: line {} is torn and left out", file, number));
    }
    at = end;
  }
}

void read_units(const std::string& file, Run& run) {
  std::map<std::array<std::string, 4>, size_t> known;
  each_line(file, run, [&](std::string_view line) {
    Unit unit = parse_unit(Json::parse(line));
    check_task(unit, run);
    const auto [at, fresh] = known.try_emplace(
        {unit.key.task, unit.key.mode, unit.key.item, unit.key.scheme}, run.units.size());
    if (fresh) {
      run.units.push_back(std::move(unit));
    } else {
      run.units[at->second] = std::move(unit);
    }
  });
}

}  // namespace

const Json* asked(const Run& run, const std::string& task, const char* what) {
  const Json* at = &run.header;
  for (const std::string& name : {std::string("measured"), task, std::string(what)}) {
    if (!at->is_object() || !at->contains(name)) return nullptr;
    at = &at->at(name);
  }
  return at;
}

Run load_run(const std::string& path) {
  Run run;
  run.path = path;
  const std::string header = path + "/run.json", results = path + "/results.jsonl",
                    differences = path + "/differences.jsonl";
  std::error_code error;
  if (!fs::is_directory(path, error)) throw usage_error(fmt::format("{}: not a folder", path));
  if (!fs::exists(header, error))
    throw usage_error(fmt::format("{}: no run folder, holds no run.json", path));
  try {
    read_header(Json::parse(eval::read_file(header)), run);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    throw environment_error(fmt::format("{}: {}", header, problem.what()));
  }
  if (!fs::exists(results, error))
    throw environment_error(
        fmt::format("{}: not there{}", results,
                    fs::exists(results + ".xz", error) ? "; unpack results.jsonl.xz first" : ""));
  read_units(results, run);
  if (fs::exists(differences, error))
    each_line(differences, run, [&](std::string_view) { ++run.differences; });
  return run;
}

}  // namespace kvx::report
