// The task `needle`: values hidden in prose (RULER-shaped) or filler (passkey), asked for at the
// end. needle.md is its page.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "eval/tasks/needle_words.h"
#include "eval/tasks/task.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

// Rises with every change that can move a prompt or a score.
inline constexpr int kNeedleVersion = 1;

struct NeedleSettings {
  std::vector<std::string> kinds;  // parse_needle_kind
  std::vector<int64_t> lengths;    // tokens: BOS, prompt and new tokens; 1 to kLongestNeedle
  std::vector<int> depths;         // per cent, 0 to 100
  int64_t samples = 1;             // of every kind, length and depth; 1 to 2^20
  std::string haystack;            // UTF-8 prose; not used by passkey
  std::string haystack_path;       // what errors call it
  NeedleWords words = embedded_needle_words();
  uint64_t seed = 0;
  bool bos = true;  // a BOS is counted where the model's files ask for one
};

inline constexpr int64_t kLongestNeedle = int64_t{1} << 20;

// Samples in the order of kinds, lengths, depths and number. `tokenizer` must outlive the task.
// Throws a usage Error for an unknown or repeated setting, too few words for the keys, or a length
// that a sample does not fit into with one word (passkey: one character) of haystack; an
// environment Error for a haystack that is not UTF-8 or has no sentence.
std::unique_ptr<Task> make_needle(const NeedleSettings& settings,
                                  const model::Tokenizer& tokenizer);

}  // namespace kvx::eval
