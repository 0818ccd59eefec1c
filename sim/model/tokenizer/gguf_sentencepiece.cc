// sentencepiece's BPE from the metadata of a GGUF file: tokens, scores and types are put back into
// the message that the library reads (sentencepiece_model.proto, proto2 wire format).
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "sim/model/checkpoint/utf8.h"
#include "sim/model/tokenizer/gguf_vocab.h"
#include "sim/model/tokenizer/loaders.h"
#include "sim/model/tokenizer/sentencepiece.h"

namespace kvx::model {
namespace {

class Message {
 public:
  void integer(uint32_t field, uint64_t value) {
    varint(uint64_t{field} << 3);
    varint(value);
  }
  void bytes(uint32_t field, std::string_view value) {
    varint(uint64_t{field} << 3 | 2);
    varint(value.size());
    bytes_ += value;
  }
  void float32(uint32_t field, float value) {
    varint(uint64_t{field} << 3 | 5);
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof raw);
  }
  const std::string& serialised() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

std::vector<float> read_scores(const Gguf& gguf, size_t tokens) {
  constexpr const char* kKey = "tokenizer.ggml.scores";
  const GgufValue* value = gguf.find(kKey);
  if (value == nullptr) throw file_error(gguf.path(), fmt::format("key '{}' is missing", kKey));
  if (value->type != GgufType::kArray || value->element != GgufType::kF32 ||
      value->count != tokens) {
    throw file_error(gguf.path(), fmt::format("key '{}' is no array of {} F32, one for each token",
                                              kKey, tokens));
  }
  std::vector<float> scores(tokens);
  if (tokens > 0) std::memcpy(scores.data(), value->bytes.data(), tokens * sizeof(float));
  return scores;
}

std::string model_proto(const Gguf& gguf, const GgufVocab& vocab) {
  const std::vector<float> scores = read_scores(gguf, vocab.tokens.size());
  Message model;
  size_t byte_pieces = 0;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const std::string& token = vocab.tokens[id];
    if (token.empty() || find_invalid_utf8(token) != std::string::npos) {
      throw file_error(gguf.path(), fmt::format("key 'tokenizer.ggml.tokens[{}]' is {}, no text",
                                                id, printable(token)));
    }
    Message piece;
    piece.bytes(1, token);
    piece.float32(2, scores[id]);
    piece.integer(3, static_cast<uint64_t>(vocab.types[id]));
    model.bytes(1, piece.serialised());
    if (vocab.types[id] == kByte) ++byte_pieces;
  }
  Message trainer;
  trainer.integer(3, 2);                         // model_type: BPE
  trainer.integer(35, byte_pieces > 0 ? 1 : 0);  // byte_fallback
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    if (vocab.types[id] == kUnknown) trainer.bytes(45, vocab.tokens[id]);  // unk_piece
  }
  model.bytes(2, trainer.serialised());
  Message normalizer;
  normalizer.bytes(1, "identity");  // name
  normalizer.integer(3, gguf.boolean("tokenizer.ggml.add_space_prefix", true));
  normalizer.integer(4, gguf.boolean("tokenizer.ggml.remove_extra_whitespaces", false));
  model.bytes(3, normalizer.serialised());
  return model.serialised();
}

}  // namespace

std::unique_ptr<Tokenizer> load_gguf_sentencepiece(const Gguf& gguf) {
  constexpr const char* kCharsMap = "tokenizer.ggml.precompiled_charsmap";
  if (gguf.find(kCharsMap) != nullptr) {
    throw file_error(gguf.path(),
                     fmt::format("key '{}' is not supported: missing normalisation", kCharsMap));
  }
  const GgufVocab vocab = read_gguf_vocab(gguf);
  const std::string proto = model_proto(gguf, vocab);
  SentencePieceSpec spec;
  spec.source = gguf.path();
  spec.model_proto = proto;
  spec.add_bos = vocab.add_bos.value_or(true);
  spec.bos = vocab.bos;
  spec.eos = vocab.eos;
  spec.sha256 = vocab.sha256;
  return make_sentencepiece_tokenizer(spec);
}

}  // namespace kvx::model
