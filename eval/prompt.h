// A task's sample as tokens of a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/generate.h"
#include "eval/tasks/task.h"
#include "sim/model/config.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

struct SamplePrompt {
  std::string id;
  Sample sample;
  Prompt prompt;  // all but context_index
};

// The prompt is tokenised whole, with a BOS if the tokenizer asks for one; its context is the
// longest prefix that it shares with the tokens of the context alone, and leaves one token at
// least. Throws an environment Error naming the sample where prompt and answer do not fit the
// model's positions or its sliding window, where the prompt has no tokens, and where the tokenizer
// gives one that the model has not.
SamplePrompt make_prompt(const Task& task, int64_t index, const model::Tokenizer& tokenizer,
                         const model::ModelConfig& config);

// Numbers the distinct contexts of a batch.
void share_contexts(std::vector<Prompt>& prompts);

}  // namespace kvx::eval
