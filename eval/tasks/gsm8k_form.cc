#include "eval/tasks/gsm8k_form.h"

#include <fmt/core.h>

#include "sim/model/checkpoint/sha256.h"

namespace kvx::eval {

std::string gsm8k_question(std::string_view question) {
  return fmt::format("Question: {}\nAnswer:", question);
}

std::string gsm8k_shot(std::string_view question, std::string_view answer) {
  return fmt::format("{} {}\n\n", gsm8k_question(question), answer);
}

std::string prompts_sha256(const Task& task) {
  model::Sha256 hash;
  for (int64_t i = 0; i < task.size(); ++i) {
    const Sample sample = task.sample(i);
    hash.update(sample.context);
    hash.update(sample.question);
  }
  return hash.hex();
}

}  // namespace kvx::eval
