// A task that is answered by greedy generation: prompts, when to stop, and how an output is scored.
// What runs them (sample_part.h) knows no task by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/number.h"

namespace kvx::eval {

// One prompt: `context` followed by `question`. Cache mode context-exact reads the context exactly
// as computed; samples with the same context share it.
struct Sample {
  std::string context;             // may be empty
  std::string question;            // not empty
  int64_t new_tokens = 0;          // at most that many are generated
  std::vector<std::string> stops;  // generation ends once the decoded output holds one of them
  // Where in the task's table the sample belongs: {"kind", "multikey4"}, {"length", "1024"}, ...
  // The names, in this order, are the same for all samples of a task.
  std::vector<std::pair<std::string, std::string>> cell;
  // What the answer is judged by; recorded.
  std::vector<std::string> expected;
};

// What one way of reading an output found.
struct Reading {
  std::string filter;     // "strict", "flexible", "match"
  std::string extracted;  // "[invalid]" where there is nothing to extract
  double score = 0;       // 0 to 1
};

// A sample's name is unique in its task and has no blanks or slashes: "multikey4-1024-50-0".
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string_view name() const = 0;  // "needle"
  // Rises with every change that can move a prompt or a score.
  virtual int version() const = 0;
  // Everything that decides a sample's prompt and score, for run.json; not which samples there are.
  // A field is null where no sample asked for depends on it.
  virtual Json identity() const = 0;
  // Which samples were asked for: lists, and counts that more samples only make larger.
  virtual Json selection() const = 0;
  virtual int64_t size() const = 0;
  // Deterministic; 0 <= index < size(). The name costs nothing, the sample may.
  virtual std::string id(int64_t index) const = 0;
  virtual Sample sample(int64_t index) const = 0;
  // The first reading is the one that tables and pictures show. `output` ends before the first stop
  // string.
  virtual std::vector<Reading> judge(const Sample& sample, std::string_view output) const = 0;
};

}  // namespace kvx::eval
