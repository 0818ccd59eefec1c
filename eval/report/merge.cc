#include "eval/report/merge.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <utility>

namespace kvx::report {
namespace {

Model& model_of(std::vector<Model>& models, const Run& run) {
  for (Model& model : models)
    if (model.identity == run.identity) return model;
  models.emplace_back();
  models.back().identity = run.identity;
  models.back().header = run.header;
  return models.back();
}

Task& task_of(Model& model, const std::string& name, const nlohmann::json& identity) {
  for (Task& task : model.tasks)
    if (task.name == name && task.identity == identity) return task;
  model.tasks.push_back({name, identity, {}});
  return model.tasks.back();
}

Series& series_of(std::vector<Series>& all, const std::string& scheme) {
  for (Series& series : all)
    if (series.scheme == scheme) return series;
  all.push_back({scheme, {}});
  return all.back();
}

// A unit that is there already: its backends grow, if it is the same.
void add_again(Unit& known, const Unit& unit, Model& model) {
  if (!same_content(known, unit)) {
    model.conflicts.push_back(
        fmt::format("{}/{}/{}/{}", unit.key.task, unit.key.mode, unit.key.item, unit.key.scheme));
    return;
  }
  ++model.repeated;
  for (const eval::BackendRun& run : unit.runs)
    if (std::none_of(known.runs.begin(), known.runs.end(),
                     [&](const eval::BackendRun& other) { return other.backend == run.backend; }))
      known.runs.push_back(run);
}

void add_units(Run& run, Model& model) {
  for (Unit& unit : run.units) {
    const std::string name = eval::task_name(unit.key.task);
    Series& series =
        series_of(task_of(model, name, run.tasks.at(name)).modes[unit.key.mode], unit.key.scheme);
    const auto [at, fresh] = series.units.try_emplace(unit.key.item);
    if (fresh) {
      at->second = std::make_shared<Unit>(std::move(unit));
    } else {
      add_again(*at->second, unit, model);
    }
  }
  run.units.clear();
}

// The base first, the others as they were.
template <typename T, typename SchemeOf>
void base_first(std::vector<T>& list, const SchemeOf& scheme_of) {
  std::stable_partition(list.begin(), list.end(),
                        [&](const T& one) { return is_base(scheme_of(one)); });
}

void order(Model& model) {
  // Perplexity first and errors last.
  const auto rank = [](const Task& task) {
    return task.name == "ppl" ? 0 : task.name == "error" ? 2 : 1;
  };
  std::stable_sort(model.tasks.begin(), model.tasks.end(), [&](const Task& a, const Task& b) {
    return std::pair(rank(a), a.name) < std::pair(rank(b), b.name);
  });
  std::vector<std::string>& schemes = model.schemes;
  const auto add = [&](const std::string& scheme) {
    if (std::find(schemes.begin(), schemes.end(), scheme) == schemes.end())
      schemes.push_back(scheme);
  };
  for (const auto& run : model.runs) std::for_each(run->schemes.begin(), run->schemes.end(), add);
  for (Task& task : model.tasks)
    for (auto& [mode, all] : task.modes) {
      base_first(all, [](const Series& series) { return series.scheme; });
      for (const Series& series : all) add(series.scheme);
    }
  base_first(schemes, [](const std::string& scheme) { return scheme; });
}

}  // namespace

std::vector<Model> merge(std::vector<Run> runs) {
  std::vector<Model> models;
  for (Run& run : runs) {
    Model& model = model_of(models, run);
    for (const auto& [name, identity] : run.tasks) task_of(model, name, identity);
    add_units(run, model);
    model.runs.push_back(std::make_shared<const Run>(std::move(run)));
  }
  for (Model& model : models) order(model);
  return models;
}

std::string label_of(const Model& model, const std::string& scheme) {
  const std::string label = eval::scheme_label(scheme);
  const auto same =
      std::count_if(model.schemes.begin(), model.schemes.end(),
                    [&](const std::string& other) { return eval::scheme_label(other) == label; });
  return same > 1 ? scheme : label;
}

std::string model_name(const Model& model) {
  const Json& shape = model.header.at("model");
  for (const char* name : {"path", "architecture"}) {
    if (!shape.contains(name) || !shape.at(name).is_string()) continue;
    const std::filesystem::path path = shape.at(name).get<std::string>();
    const std::string file = (path.has_filename() ? path : path.parent_path()).filename().string();
    if (!file.empty()) return file;
  }
  return "model";
}

bool is_base(const std::string& scheme) { return eval::scheme_label(scheme) == "fp:f32"; }

}  // namespace kvx::report
