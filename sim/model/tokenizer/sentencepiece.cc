#include "sim/model/tokenizer/sentencepiece.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <cmath>
#include <filesystem>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/sha256.h"
#include "sim/model/tokenizer/added_tokens.h"
#include "sim/model/tokenizer/loaders.h"
#include "sim/model/tokenizer/sentencepiece_tables.h"
#include "sim/model/tokenizer/tokenizer_config.h"

namespace kvx::model {
namespace {

void check(const sentencepiece::util::Status& status, const std::string& file) {
  if (!status.ok()) throw file_error(file, fmt::format("sentencepiece: {}", status.ToString()));
}

// The texts of control tokens and of <unk>; user-defined pieces are the library's own affair.
std::vector<AddedToken> special_pieces(const sentencepiece::SentencePieceProcessor& processor) {
  std::vector<AddedToken> out;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (processor.IsControl(id) || processor.IsUnknown(id))
      out.push_back({.id = id, .text = processor.IdToPiece(id), .special = true});
  }
  return out;
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const SentencePieceSpec& spec)
      : source_(spec.source), add_bos_(spec.add_bos), sha256_(spec.sha256) {
    load(spec.model_proto);
    if (processor_.GetPieceSize() < 1) throw file_error(source_, "field 'pieces' is empty");
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!std::isfinite(processor_.GetScore(id))) {
        throw file_error(source_, fmt::format("the score of piece {} is not finite", id));
      }
    }
    bos_ = spec.bos.value_or(processor_.bos_id());
    eos_ = spec.eos.value_or(processor_.eos_id());
    special_ = std::make_unique<AddedTokens>(special_pieces(processor_));
  }

  std::vector<int32_t> encode(std::string_view text, bool add_bos,
                              bool parse_special) const override {
    require_utf8(text);
    std::vector<int32_t> ids;
    if (add_bos && adds_bos()) ids.push_back(bos());
    const auto encode_plain = [&](std::string_view segment) {
      std::vector<int> segment_ids;
      check(processor_.Encode({segment.data(), segment.size()}, &segment_ids), source_);
      ids.insert(ids.end(), segment_ids.begin(), segment_ids.end());
    };
    if (!parse_special) {
      encode_plain(text);
      return ids;
    }
    special_->for_each_segment(text, true, [&](std::string_view segment, int32_t special) {
      special < 0 ? encode_plain(segment) : ids.push_back(special);
    });
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) {
        throw environment_error(
            fmt::format("token id {} is not in the vocabulary of {}", id, vocab_size()));
      }
    }
    std::string out;
    check(processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &out), source_);
    return out;
  }

  std::string piece(int32_t id) const override { return processor_.IdToPiece(id); }
  int64_t vocab_size() const override { return processor_.GetPieceSize(); }
  bool adds_bos() const override { return add_bos_ && bos() >= 0; }
  int32_t bos() const override { return bos_; }
  int32_t eos() const override { return eos_; }
  std::string kind() const override { return "sentencepiece"; }
  std::string sha256() const override { return sha256_; }

 private:
  void load(std::string_view proto) {
    check_normalisation_tables(proto, source_);
    try {
      check(processor_.LoadFromSerializedProto({proto.data(), proto.size()}), source_);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // of the library's trie, for its pieces
      throw file_error(source_, fmt::format("sentencepiece: {}", error.what()));
    }
  }

  std::string source_;
  bool add_bos_;
  int32_t bos_ = -1;
  int32_t eos_ = -1;
  sentencepiece::SentencePieceProcessor processor_;
  std::unique_ptr<AddedTokens> special_;
  std::string sha256_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const SentencePieceSpec& spec) {
  return std::make_unique<SentencePieceTokenizer>(spec);
}

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& folder) {
  const MappedFile file((std::filesystem::path(folder) / "tokenizer.model").string());
  if (file.text().empty()) throw file_error(file.path(), "has 0 bytes");
  Sha256 hash;
  hash.update(file.bytes());
  SentencePieceSpec spec;
  spec.source = file.path();
  spec.model_proto = file.text();
  // Llama's tokenizers begin with BOS unless the folder says otherwise.
  spec.add_bos = read_tokenizer_config(folder).add_bos.value_or(true);
  spec.sha256 = hash.hex();
  return make_sentencepiece_tokenizer(spec);
}

}  // namespace kvx::model
