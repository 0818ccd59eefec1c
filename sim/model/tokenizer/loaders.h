// Tokenizers by the files they come from.
#pragma once

#include <memory>
#include <string>

#include "sim/model/checkpoint/gguf.h"
#include "sim/model/tokenizer.h"

namespace kvx::model {

// tokenizer.model of a folder (sentencepiece).
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& folder);

// tokenizer.json of a folder (byte-level BPE).
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& folder);

// The metadata of a GGUF file: byte-level BPE (model `gpt2`) or sentencepiece (model `llama`).
std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path);
std::unique_ptr<Tokenizer> load_gguf_sentencepiece(const Gguf& gguf);

}  // namespace kvx::model
