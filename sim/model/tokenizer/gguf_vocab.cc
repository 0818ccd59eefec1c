#include "sim/model/tokenizer/gguf_vocab.h"

#include <fmt/format.h>

#include "sim/model/checkpoint/sha256.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

void read_types(const Gguf& gguf, GgufVocab& vocab) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  vocab.types = gguf.integers32(kKey);
  if (vocab.types.size() != vocab.tokens.size()) {
    throw file_error(gguf.path(), fmt::format("key '{}' has {} entries for {} tokens", kKey,
                                              vocab.types.size(), vocab.tokens.size()));
  }
  for (size_t id = 0; id < vocab.types.size(); ++id) {
    const int32_t type = vocab.types[id];
    if (type < kNormal || type > kByte) {
      throw file_error(gguf.path(), fmt::format("key '{}[{}]' is {}, not 1 to 6", kKey, id, type));
    }
    const bool added = type == kUnknown || type == kControl || type == kUserDefined;
    if (added && find_invalid_utf8(vocab.tokens[id]) != std::string::npos) {
      throw file_error(gguf.path(), fmt::format("key 'tokenizer.ggml.tokens[{}]' is {}, not UTF-8",
                                                id, printable(vocab.tokens[id])));
    }
  }
}

int32_t read_id(const Gguf& gguf, const std::string& key, size_t tokens) {
  if (gguf.find(key) == nullptr) return -1;
  const int64_t id = gguf.integer(key);
  if (static_cast<uint64_t>(id) >= tokens) {
    throw file_error(gguf.path(),
                     fmt::format("key '{}' is {}, but there are {} tokens", key, id, tokens));
  }
  return static_cast<int32_t>(id);
}

std::string metadata_sha256(const Gguf& gguf) {
  Sha256 hash;
  for (const auto& [key, value] : gguf.values()) {
    if (!key.starts_with("tokenizer.ggml.")) continue;
    hash.update(key);
    hash.update(std::string_view("\0", 1));
    hash.update(uint64_t{value.bytes.size()});
    hash.update(value.bytes);
  }
  return hash.hex();
}

}  // namespace

GgufVocab read_gguf_vocab(const Gguf& gguf) {
  GgufVocab vocab;
  for (const std::string_view token : gguf.strings("tokenizer.ggml.tokens"))
    vocab.tokens.emplace_back(token);
  read_types(gguf, vocab);
  vocab.bos = read_id(gguf, "tokenizer.ggml.bos_token_id", vocab.tokens.size());
  vocab.eos = read_id(gguf, "tokenizer.ggml.eos_token_id", vocab.tokens.size());
  constexpr const char* kAddBos = "tokenizer.ggml.add_bos_token";
  if (gguf.find(kAddBos) != nullptr) vocab.add_bos = gguf.boolean(kAddBos);
  if (gguf.boolean("tokenizer.ggml.add_eos_token", false)) {
    throw file_error(
        gguf.path(),
        "key 'tokenizer.ggml.add_eos_token' is true: not supported: missing EOS after a text");
  }
  vocab.sha256 = metadata_sha256(gguf);
  return vocab;
}

}  // namespace kvx::model
