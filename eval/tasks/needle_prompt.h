// The words of a needle prompt, and how its answer is scored: RULER's (arXiv 2404.06654,
// scripts/data/synthetic/{constants,niah}.py, scripts/eval/synthetic/constants.py).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/tasks/task.h"

namespace kvx::eval {

inline constexpr int64_t kNeedleNewTokens = 128;

struct Needle {
  std::string key;    // "brisk-lantern"
  std::string value;  // 7 digits
  int depth = 0;      // per cent of the sentences that stand before it
};

// The task sentence, "\n", the sentences with the needles among them, joined by blanks, "\n". A
// needle stands after floor(sentences * depth / 100) sentences; needles at one place stand in the
// order given. `answers` is how many values are asked for: RULER words one in the singular.
std::string needle_context(int answers, std::span<const std::string_view> sentences,
                           std::span<const Needle> needles);

// The question and, after a blank, the beginning of the answer. Keys are listed "a, b, and c", two
// as "a, and b".
std::string needle_question(int answers, std::span<const std::string> keys);

// RULER's string_match_all as the reading `match`: the share of the expected values that the output
// contains. (What RULER cleans an answer of before, white space at its ends and control characters,
// is in no value.) Extracted are the values found, "[invalid]" where there is none.
Reading match_all(std::span<const std::string> expected, std::string_view output);

}  // namespace kvx::eval
