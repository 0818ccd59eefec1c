// Task `gsm8k`: grade school word problems (Cobbe et al. 2021, arXiv 2110.14168) with the prompts
// and the judgement of lm-evaluation-harness, task `gsm8k` version 3, run as one process: gsm8k.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "eval/tasks/task.h"

namespace kvx::eval {

// Rises with every change that can move a prompt or a score.
inline constexpr int kGsm8kVersion = 1;

struct Gsm8kSettings {
  std::string test_path{};   // test.jsonl: a line of {"question", "answer"} per item
  std::string train_path{};  // train.jsonl, of which shots are drawn; not read for 0 shots
  int64_t shots = 5;         // drawn anew for every item; the context
  int64_t limit = 0;         // only that many of the first items; 0: all
  int64_t new_tokens = 256;
  std::string end_of_text{};  // the end-of-text token's own text, one more stop string; empty: none
};

// Reads the files. Throws a usage Error for a setting out of range, an environment Error naming
// file and line for what is not such a file.
std::unique_ptr<Task> make_gsm8k(const Gsm8kSettings& settings);

}  // namespace kvx::eval
