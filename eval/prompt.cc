#include "eval/prompt.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "sim/api/error.h"

namespace kvx::eval {
namespace {

void check_prompt(const std::vector<int32_t>& tokens, int64_t new_tokens,
                  const model::ModelConfig& config) {
  const int64_t count = std::ssize(tokens);
  if (count == 0) throw environment_error("no tokens");
  for (const int32_t token : tokens)
    if (token < 0 || token >= config.vocab)
      throw environment_error(
          fmt::format("the tokenizer gives id {}, the model has {}", token, config.vocab));
  if (count + new_tokens > config.max_positions)
    throw environment_error(
        fmt::format("{} tokens and {} to be generated; the model has {} positions", count,
                    new_tokens, config.max_positions));
  model::require_in_window(config, count + new_tokens);
}

}  // namespace

SamplePrompt make_prompt(const Task& task, int64_t index, const model::Tokenizer& tokenizer,
                         const model::ModelConfig& config) {
  SamplePrompt out{task.id(index), task.sample(index), {}};
  const Sample& sample = out.sample;
  std::vector<int32_t>& tokens = out.prompt.tokens;
  try {
    tokens = tokenizer.encode(sample.context + sample.question, true, false);
    check_prompt(tokens, sample.new_tokens, config);
  } catch (const Error& error) {
    throw Error(error.exit(),
                fmt::format("task {}: sample {}: {}", task.name(), out.id, error.what()));
  }
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
