#include "eval/tasks/gsm8k_form.h"

#include <fmt/core.h>

#include "eval/files.h"

namespace kvx::eval {

std::string gsm8k_question(std::string_view question) {
  return fmt::format("Question: {}\nAnswer:", question);
}

std::string gsm8k_shot(std::string_view question, std::string_view answer) {
  return fmt::format("{} {}\n\n", gsm8k_question(question), answer);
}

std::string prompts_sha256(const Task& task) {
  std::string prompts;
  for (int64_t i = 0; i < task.size(); ++i) {
    const Sample sample = task.sample(i);
    prompts += sample.context;
    prompts += sample.question;
  }
  return sha256_hex(prompts);
}

}  // namespace kvx::eval
