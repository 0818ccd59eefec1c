// tokenizer_config.json: what a Hugging Face folder says beside its tokenizer file.
#pragma once

#include <optional>
#include <string>

namespace kvx::model {

struct TokenizerConfig {
  std::string path;
  std::optional<bool> add_bos;     // overrides the tokenizer file's own rule
  std::optional<std::string> bos;  // texts
  std::optional<std::string> eos;
};

// Everything is absent where the folder has no such file. Throws an environment Error for a field
// of a wrong type and for add_eos_token, which is not supported.
TokenizerConfig read_tokenizer_config(const std::string& folder);

}  // namespace kvx::model
