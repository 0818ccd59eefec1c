// Passkey retrieval in the words of LongLoRA (arXiv 2309.12307, passkey_retrivial.py), after
// landmark attention (arXiv 2305.16300): a number hidden in repeated filler.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "eval/tasks/task.h"

namespace kvx::eval {

inline constexpr int64_t kPasskeyNewTokens = 10;  // KVQuant's
inline constexpr uint64_t kPasskeyKeys = 49'999;  // keys are 1 to this many

// The task's sentence, `place` characters of filler, the information line, `filler` - `place`
// characters of filler, each with its "\n". Both pieces of filler start at its beginning.
std::string passkey_context(int64_t filler, int64_t place, int64_t key);

// The question, which ends "The pass key is".
std::string passkey_question();

// LongLoRA's own prompt with `filler` characters of filler in all: place and key come from numpy's
// legacy generator.
struct LongLoraPasskey {
  std::string prompt;
  int64_t place = 0;
  int64_t key = 0;
};
LongLoraPasskey longlora_passkey(int64_t filler, uint32_t seed);

// KVQuant's score as the reading `match`: 1 where the first run of digits in the output is, as an
// integer, the key (digits, no leading zero), else 0. Extracted is that run, "[invalid]" where
// there is none.
Reading match_first_number(std::string_view key, std::string_view output);

}  // namespace kvx::eval
