// Several runs as one: units of the same model and task beside each other, whichever run they are
// from.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eval/report/load.h"

namespace kvx::report {

// Windows in order of their numbers, samples in order of their ids.
struct ByName {
  bool operator()(const std::string& a, const std::string& b) const {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  }
};

// The units of one scheme in one cache mode of a task.
struct Series {
  std::string scheme;  // versioned descriptor
  std::map<std::string, std::shared_ptr<Unit>, ByName> units;
};

struct Task {
  std::string name;         // "ppl"
  nlohmann::json identity;  // what decides its values
  // By cache mode; the base first, then as the runs name them.
  std::map<std::string, std::vector<Series>> modes;
};

struct Model {
  nlohmann::json identity;
  Json header;                                   // of run.json, as the first run gave it
  std::vector<std::shared_ptr<const Run>> runs;  // without their units
  std::vector<std::string> schemes;              // all of its tasks', the base first
  std::vector<Task> tasks;                       // perplexity first, errors last
  int64_t repeated = 0;                          // units of more than one run, equal in all of them
  std::vector<std::string> conflicts;            // units that differ between runs; the first holds
};

// One a model, in the order of the runs. Equal identities are one model, and in it equal task
// identities one task; what a second run measured again is compared, and its backends are added.
std::vector<Model> merge(std::vector<Run> runs);

// "kivi@1:k2v2" -> "kivi:k2v2"; versioned where the model has two versions of it.
std::string label_of(const Model& model, const std::string& scheme);

// The file name of the model's path; its architecture where there is none.
std::string model_name(const Model& model);

// Whether it is fp:f32, of any version.
bool is_base(const std::string& scheme);

}  // namespace kvx::report
