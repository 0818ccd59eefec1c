// BPE and unigram tokenizers by the sentencepiece library (Kudo and Richardson 2018).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "sim/model/tokenizer.h"

namespace kvx::model {

struct SentencePieceSpec {
  std::string source;            // file, for error messages
  std::string_view model_proto;  // serialised sentencepiece.ModelProto; used while constructing
  bool add_bos = true;
  std::optional<int32_t> bos;  // instead of the model's own; -1: none
  std::optional<int32_t> eos;
  std::string sha256;
};

// Throws an environment Error for what the library refuses, a vocabulary that is empty, and scores
// that are not finite.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const SentencePieceSpec& spec);

}  // namespace kvx::model
