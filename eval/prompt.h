// A task's sample as tokens of a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/generate.h"
#include "eval/tasks/task.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

struct SamplePrompt {
  std::string id;
  Sample sample;
  Prompt prompt;  // all but context_index
};

// The prompt is tokenised whole, with a BOS if the tokenizer asks for one; its context is the
// longest prefix that it shares with the tokens of the context alone, and leaves one token at
// least. Throws an environment Error where prompt and answer do not fit the model's positions.
SamplePrompt make_prompt(const Task& task, int64_t index, const model::Tokenizer& tokenizer,
                         int64_t max_positions);

// Numbers the distinct contexts of a batch.
void share_contexts(std::vector<Prompt>& prompts);

}  // namespace kvx::eval
