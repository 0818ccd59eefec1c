// Byte-level byte-pair encoding (Sennrich et al. 2016, on bytes as in GPT-2).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/model/tokenizer.h"
#include "sim/model/tokenizer/added_tokens.h"

namespace kvx::model {

// What a file says about a tokenizer, whatever its format.
struct BpeSpec {
  std::string source;               // file, for error messages
  std::vector<std::string> tokens;  // by id; in the byte alphabet, but for added tokens
  std::vector<std::pair<std::string, std::string>> merges;  // first merge first
  std::vector<AddedToken> added;
  bool nfc = false;  // text between added tokens is normalised to form C before it is split
  std::vector<std::string> split_patterns;
  std::optional<int32_t> unknown;  // for bytes that have no token; without it they are left out
  bool ignore_merges = false;      // a piece that is a token as a whole is not merged
  bool add_bos = false;
  int32_t bos = -1;
  int32_t eos = -1;
  std::string kind;
  std::string sha256;
};

// Throws an environment Error for merges of tokens that are not there and for tokens that are there
// twice.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeSpec spec);

}  // namespace kvx::model
