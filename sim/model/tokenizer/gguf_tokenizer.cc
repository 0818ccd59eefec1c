// Byte-level BPE from the metadata of a GGUF file.
#include <fmt/format.h>

#include "sim/model/checkpoint/gguf.h"
#include "sim/model/checkpoint/sha256.h"
#include "sim/model/checkpoint/utf8.h"
#include "sim/model/tokenizer/bpe.h"
#include "sim/model/tokenizer/loaders.h"
#include "sim/model/tokenizer/splitter.h"

namespace kvx::model {
namespace {

// tokenizer.ggml.token_type
enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

void require_model(const Gguf& gguf) {
  const std::string model = gguf.string("tokenizer.ggml.model");
  if (model == "gpt2") return;
  const std::string missing = model == "llama" ? "sentencepiece from GGUF scores" : "its algorithm";
  throw file_error(gguf.path(),
                   fmt::format("key 'tokenizer.ggml.model' is {}: not supported: missing {}",
                               printable(model), missing));
}

// What a name in tokenizer.ggml.pre stands for: the steps that the family's own tokenizer takes.
void read_pre(const Gguf& gguf, const std::string& pre, BpeSpec& spec) {
  if (pre == "gpt-2") {
    spec.split_patterns = {kGpt2Pattern};
    return;
  }
  if (pre == "smollm") {
    spec.split_patterns = {kDigitPattern, kGpt2Pattern};
    return;
  }
  if (pre == "qwen2") {
    spec.nfc = true;
    spec.split_patterns = {kQwen2Pattern};
    return;
  }
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    spec.split_patterns = {kLlama3Pattern};
    spec.ignore_merges = true;
    spec.add_bos = true;
    return;
  }
  throw file_error(
      gguf.path(),
      fmt::format("key 'tokenizer.ggml.pre' is {}: not supported: missing its split pattern",
                  printable(pre)));
}

std::pair<std::string, std::string> read_merge(const Gguf& gguf, std::string_view merge,
                                               size_t index) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size()) {
    throw file_error(gguf.path(),
                     fmt::format("key 'tokenizer.ggml.merges[{}]' is {}, not two tokens", index,
                                 printable(merge)));
  }
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

std::vector<AddedToken> read_added(const Gguf& gguf, const std::vector<std::string>& tokens) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  const std::vector<int32_t> types = gguf.integers32(kKey);
  if (types.size() != tokens.size()) {
    throw file_error(gguf.path(), fmt::format("key '{}' has {} entries for {} tokens", kKey,
                                              types.size(), tokens.size()));
  }
  std::vector<AddedToken> added;
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < kNormal || types[id] > kByte) {
      throw file_error(gguf.path(),
                       fmt::format("key '{}[{}]' is {}, not 1 to 6", kKey, id, types[id]));
    }
    const bool special = types[id] == kControl || types[id] == kUnknown;
    if (!special && types[id] != kUserDefined) continue;
    if (find_invalid_utf8(tokens[id]) != std::string::npos) {
      throw file_error(gguf.path(), fmt::format("key 'tokenizer.ggml.tokens[{}]' is {}, not UTF-8",
                                                id, printable(tokens[id])));
    }
    added.push_back({.id = static_cast<int32_t>(id), .text = tokens[id], .special = special});
  }
  return added;
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

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path) {
  const MappedFile file(path);
  const Gguf gguf(file);
  require_model(gguf);
  BpeSpec spec;
  spec.source = path;
  const std::string pre = gguf.string("tokenizer.ggml.pre");
  read_pre(gguf, pre, spec);
  for (const std::string_view token : gguf.strings("tokenizer.ggml.tokens"))
    spec.tokens.emplace_back(token);
  const std::vector<std::string_view> merges = gguf.strings("tokenizer.ggml.merges");
  for (size_t i = 0; i < merges.size(); ++i) spec.merges.push_back(read_merge(gguf, merges[i], i));
  spec.added = read_added(gguf, spec.tokens);
  spec.bos = read_id(gguf, "tokenizer.ggml.bos_token_id", spec.tokens.size());
  spec.eos = read_id(gguf, "tokenizer.ggml.eos_token_id", spec.tokens.size());
  spec.add_bos = gguf.boolean("tokenizer.ggml.add_bos_token", spec.add_bos);
  if (gguf.boolean("tokenizer.ggml.add_eos_token", false)) {
    throw file_error(
        path,
        "key 'tokenizer.ggml.add_eos_token' is true: not supported: missing EOS after a text");
  }
  spec.kind = fmt::format("byte-level bpe ({})", pre);
  spec.sha256 = metadata_sha256(gguf);
  return make_bpe_tokenizer(std::move(spec));
}

}  // namespace kvx::model
