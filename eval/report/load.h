// A run folder, read for a report: without its lock, its side files and the tokenizer or model that
// made it. Folders of kvx-run/1 (task ppl alone) and kvx-run/2 are read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eval/report/unit.h"

namespace kvx::report {

struct Run {
  std::string path;  // of the folder, as given
  Json header;       // run.json
  // What decides values whatever the task: arithmetic, model, tokenizer, ... Fields are in
  // alphabetical order.
  nlohmann::json identity;
  std::map<std::string, nlohmann::json> tasks;  // by name: what decides values of that task
  std::vector<std::string> schemes;             // versioned, as asked for
  uint64_t seed = 0;                            // of the bootstraps
  std::vector<Unit> units;                      // the last line of each, in order of the first
  int64_t differences = 0;                      // lines of differences.jsonl
  std::vector<std::string> notes;               // for people: a torn last line
};

// Throws: usage Error where the folder holds no run.json, environment Error naming file and line
// where a file is damaged.
Run load_run(const std::string& path);

// What run.json of kvx-run/2 says that calls asked for of a task ("modes", "windows"); nullptr
// where it says nothing.
const Json* asked(const Run& run, const std::string& task, const char* what);

}  // namespace kvx::report
