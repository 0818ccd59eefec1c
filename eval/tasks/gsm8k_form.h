// Prompts in the form of GSM8K (Cobbe et al. 2021, arXiv 2110.14168) as lm-evaluation-harness
// writes them.
#pragma once

#include <string>
#include <string_view>

#include "eval/tasks/task.h"

namespace kvx::eval {

// "Question: {question}\nAnswer:", after which the model goes on.
std::string gsm8k_question(std::string_view question);

// A solved problem in front of the question: that, a blank, the whole answer and a blank line.
std::string gsm8k_shot(std::string_view question, std::string_view answer);

// SHA-256 of all prompts of a task, context and question, one after the other.
std::string prompts_sha256(const Task& task);

}  // namespace kvx::eval
