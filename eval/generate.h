// Greedy generation of a batch of prompts under one scheme: each gets the same tokens in company as
// alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/backend.h"
#include "eval/pass.h"
#include "eval/sample_record.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

struct Prompt {
  std::vector<int32_t> tokens;
  int64_t context = 0;       // that many tokens are read exactly as computed, in mode context-exact
  size_t context_index = 0;  // among the contexts of its batch, where it has one
  int64_t new_tokens = 1;    // at most; one at least
  std::vector<std::string> stops;
};

struct GenerateSettings {
  model::CacheMode mode = model::CacheMode::kContextExact;  // any but `all`
  NonFinite nonfinite = NonFinite::kRefuse;
  Artifacts artifacts = nullptr;
  Arithmetic arithmetic = Arithmetic::kIeee;  // of the run
};

// Rotated keys, and values, of one context in all layers.
using Context = std::vector<ContextRows>;

// The contexts of a batch, by context_index, computed once for every scheme that stores rotated
// keys: the unquantised model's, in one pass each. Empty in a mode without contexts.
std::vector<Context> compute_contexts(Backend& backend, std::span<const Prompt> prompts,
                                      const GenerateSettings& settings);

struct Generation {
  std::vector<int32_t> ids;  // up to and with the token that ended it
  std::string text;          // of them, up to the first stop string or end-of-text token
  Stop stop = Stop::kLength;
  uint64_t logits = 0;  // row_hash of the logits that chose the first token
  CacheUse use;         // of the prompt, before anything is generated
};

// `contexts`: as compute_contexts gives them for these prompts, or for more that number their
// contexts alike. Throws what the engine throws.
std::vector<Generation> generate(Backend& backend, const Descriptor& scheme,
                                 std::span<const Prompt> prompts, std::span<const Context> contexts,
                                 const model::Tokenizer& tokenizer,
                                 const GenerateSettings& settings);

}  // namespace kvx::eval
