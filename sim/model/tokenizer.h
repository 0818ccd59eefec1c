// Text to token ids and back, as the checkpoint's own files say.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::model {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // For a model path: a folder's tokenizer.model (sentencepiece) or tokenizer.json (byte-level
  // BPE), or a GGUF file's metadata. Throws environment Errors naming file, field and value.
  static std::unique_ptr<Tokenizer> open(const std::string& model_path);

  // Ids of UTF-8 text. Texts of special tokens are matched if `parse_special`. BOS is put in front
  // if `add_bos` and the files say the model uses one. Invalid UTF-8 is an environment Error naming
  // the byte offset.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_bos,
                                      bool parse_special) const = 0;
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  virtual int64_t vocab_size() const = 0;
  // A token as the vocabulary spells it, special ones too: "</s>". 0 <= id < vocab_size().
  virtual std::string piece(int32_t id) const = 0;
  virtual bool adds_bos() const = 0;       // the files ask for a BOS at the start of a text
  virtual int32_t bos() const = 0;         // -1: none
  virtual int32_t eos() const = 0;         // -1: none
  virtual std::string kind() const = 0;    // "sentencepiece", "byte-level bpe (smollm)", ...
  virtual std::string sha256() const = 0;  // of the file or the metadata it came from
};

}  // namespace kvx::model
