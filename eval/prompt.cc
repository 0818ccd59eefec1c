#include "eval/prompt.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "sim/api/error.h"

namespace kvx::eval {

SamplePrompt make_prompt(const Task& task, int64_t index, const model::Tokenizer& tokenizer,
                         int64_t max_positions) {
  SamplePrompt out{task.id(index), task.sample(index), {}};
  const Sample& sample = out.sample;
  std::vector<int32_t>& tokens = out.prompt.tokens;
  tokens = tokenizer.encode(sample.context + sample.question, true, false);
  const int64_t count = std::ssize(tokens);
  if (count == 0)
    throw environment_error(fmt::format("task {}: sample {}: no tokens", task.name(), out.id));
  if (count + sample.new_tokens > max_positions)
    throw environment_error(
        fmt::format("task {}: sample {}: {} tokens and {} to be generated; the model has {} "
                    "positions",
                    task.name(), out.id, count, sample.new_tokens, max_positions));
  if (!sample.context.empty()) {
    const std::vector<int32_t> context = tokenizer.encode(sample.context, true, false);
    const auto [end, other] =
        std::mismatch(tokens.begin(), tokens.end() - 1, context.begin(), context.end());
    out.prompt.context = end - tokens.begin();
  }
  out.prompt.new_tokens = sample.new_tokens;
  out.prompt.stops = sample.stops;
  return out;
}

void share_contexts(std::vector<Prompt>& prompts) {
  std::map<std::vector<int32_t>, size_t> known;
  for (Prompt& prompt : prompts) {
    if (prompt.context == 0) continue;
    std::vector<int32_t> context(prompt.tokens.begin(), prompt.tokens.begin() + prompt.context);
    prompt.context_index = known.try_emplace(std::move(context), known.size()).first->second;
  }
}

}  // namespace kvx::eval
