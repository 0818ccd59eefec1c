// What chance decides in a sample of the task `needle`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eval/tasks/needle_kind.h"
#include "eval/tasks/needle_prompt.h"
#include "eval/tasks/needle_words.h"

namespace kvx::eval {

struct NeedleDraw {
  int64_t first_sentence = 0;   // where the haystack begins
  std::vector<Needle> needles;  // the first one is at the depth of the cell
};

// Of Python's random.Random(s), s the first 32 bits of SHA-256 of "needle SEED ID": the first
// sentence (randrange), keys, values and the other needles' depths (sample, none drawn twice).
// Depths are among RULER's 40, that of the cell left out. words.keys() >= kind.keys().
NeedleDraw draw_needles(uint64_t seed, std::string_view id, const NeedleKind& kind, int depth,
                        int64_t sentences, const NeedleWords& words);

// The key of passkey, 1 to kPasskeyKeys, from the same generator.
int64_t draw_passkey(uint64_t seed, std::string_view id);

}  // namespace kvx::eval
