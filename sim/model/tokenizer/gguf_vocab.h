// What every tokenizer in GGUF metadata has: tokens, their types, special ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/model/checkpoint/gguf.h"

namespace kvx::model {

// tokenizer.ggml.token_type; sentencepiece's piece types have the same numbers.
enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct GgufVocab {
  std::vector<std::string> tokens;  // by id
  std::vector<int32_t> types;       // as many
  int32_t bos = -1;                 // -1: none
  int32_t eos = -1;
  std::optional<bool> add_bos;
  std::string sha256;  // of all tokenizer.ggml.* keys and values
};

// Throws naming key and value. Added tokens (unknown, control, user-defined) are UTF-8.
GgufVocab read_gguf_vocab(const Gguf& gguf);

}  // namespace kvx::model
