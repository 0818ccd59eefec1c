#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <filesystem>
#include <system_error>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/sha256.h"
#include "sim/model/tokenizer/added_tokens.h"
#include "sim/model/tokenizer/loaders.h"
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
  explicit SentencePieceTokenizer(const std::string& folder)
      : add_bos_(read_tokenizer_config(folder).add_bos.value_or(true)) {
    const MappedFile file((std::filesystem::path(folder) / "tokenizer.model").string());
    path_ = file.path();
    if (file.text().empty()) throw file_error(path_, "has 0 bytes");
    check(processor_.LoadFromSerializedProto(file.text()), path_);
    if (processor_.GetPieceSize() < 1) throw file_error(path_, "field 'pieces' is empty");
    special_ = std::make_unique<AddedTokens>(special_pieces(processor_));
    Sha256 hash;
    hash.update(file.bytes());
    sha256_ = hash.hex();
  }

  std::vector<int32_t> encode(std::string_view text, bool add_bos,
                              bool parse_special) const override {
    require_utf8(text);
    std::vector<int32_t> ids;
    if (add_bos && adds_bos()) ids.push_back(bos());
    special_->for_each_segment(text, parse_special, [&](std::string_view segment, int32_t special) {
      if (special >= 0) {
        ids.push_back(special);
        return;
      }
      std::vector<int> segment_ids;
      check(processor_.Encode(segment, &segment_ids), path_);
      ids.insert(ids.end(), segment_ids.begin(), segment_ids.end());
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
    check(processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &out), path_);
    return out;
  }

  int64_t vocab_size() const override { return processor_.GetPieceSize(); }
  bool adds_bos() const override { return add_bos_ && bos() >= 0; }
  int32_t bos() const override { return processor_.bos_id(); }
  int32_t eos() const override { return processor_.eos_id(); }
  std::string kind() const override { return "sentencepiece"; }
  std::string sha256() const override { return sha256_; }

 private:
  bool add_bos_;
  std::string path_;
  sentencepiece::SentencePieceProcessor processor_;
  std::unique_ptr<AddedTokens> special_;
  std::string sha256_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& folder) {
  return std::make_unique<SentencePieceTokenizer>(folder);
}

}  // namespace kvx::model
