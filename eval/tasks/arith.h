// Task `arith`: word problems in the form of GSM8K, easy enough for the smallest models, made from
// templates with names, nouns and operands that the embedded model was not trained on: gsm8k.md.
#pragma once

#include <cstdint>
#include <memory>

#include "eval/tasks/task.h"

namespace kvx::eval {

// Rises with every change that can move a prompt or a score.
inline constexpr int kArithVersion = 1;

inline constexpr int64_t kMostArithSamples = 100000;
inline constexpr int64_t kMostArithShots = 64;

struct ArithSettings {
  int64_t shots = 8;      // solved problems, the same in front of every sample; the context
  int64_t samples = 200;  // different questions; more samples begin with the same ones
  uint32_t seed = 1;      // of samples and shots; the samples do not depend on the number of shots
  int64_t new_tokens = 128;
};

// Throws a usage Error for a setting out of range.
std::unique_ptr<Task> make_arith(const ArithSettings& settings);

}  // namespace kvx::eval
