// Tokenizers from the metadata of a GGUF file: byte-level BPE here, sentencepiece's next door.
#include <fmt/format.h>

#include "sim/model/checkpoint/gguf.h"
#include "sim/model/tokenizer/bpe.h"
#include "sim/model/tokenizer/gguf_vocab.h"
#include "sim/model/tokenizer/loaders.h"
#include "sim/model/tokenizer/splitter.h"

namespace kvx::model {
namespace {

// What a name in tokenizer.ggml.pre stands for: the steps that the family's own tokenizer takes.
void read_pre(const Gguf& gguf, const std::string& pre, BpeSpec& spec) {
  if (pre == "gpt-2") {
    spec.split_patterns = {kGpt2Pattern};
  } else if (pre == "smollm") {
    spec.split_patterns = {kDigitPattern, kGpt2Pattern};
  } else if (pre == "qwen2") {
    spec.nfc = true;
    spec.split_patterns = {kQwen2Pattern};
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    spec.split_patterns = {kLlama3Pattern};
    spec.ignore_merges = true;
    spec.add_bos = true;
  } else {
    throw file_error(
        gguf.path(),
        fmt::format("key 'tokenizer.ggml.pre' is {}: not supported: missing its split pattern",
                    printable(pre)));
  }
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

std::unique_ptr<Tokenizer> load_gguf_bpe(const Gguf& gguf) {
  BpeSpec spec;
  spec.source = gguf.path();
  const std::string pre = gguf.string("tokenizer.ggml.pre");
  read_pre(gguf, pre, spec);
  GgufVocab vocab = read_gguf_vocab(gguf);
  spec.tokens = std::move(vocab.tokens);
  const std::vector<std::string_view> merges = gguf.strings("tokenizer.ggml.merges");
  for (size_t i = 0; i < merges.size(); ++i) spec.merges.push_back(read_merge(gguf, merges[i], i));
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const int32_t type = vocab.types[id];
    const bool special = type == kControl || type == kUnknown;
    if (!special && type != kUserDefined) continue;
    spec.added.push_back(
        {.id = static_cast<int32_t>(id), .text = spec.tokens[id], .special = special});
  }
  spec.bos = vocab.bos;
  spec.eos = vocab.eos;
  spec.add_bos = vocab.add_bos.value_or(spec.add_bos);
  spec.kind = fmt::format("byte-level bpe ({})", pre);
  spec.sha256 = vocab.sha256;
  return make_bpe_tokenizer(std::move(spec));
}

}  // namespace

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path) {
  const MappedFile file(path);
  const Gguf gguf(file);
  const std::string model = gguf.string("tokenizer.ggml.model");
  if (model == "gpt2") return load_gguf_bpe(gguf);
  if (model == "llama") return load_gguf_sentencepiece(gguf);
  throw file_error(
      path, fmt::format("key 'tokenizer.ggml.model' is {}: not supported: missing its algorithm",
                        printable(model)));
}

}  // namespace kvx::model
