#include <filesystem>
#include <system_error>

#include "sim/model/checkpoint/file.h"
#include "sim/model/tokenizer/loaders.h"

namespace kvx::model {

std::unique_ptr<Tokenizer> Tokenizer::open(const std::string& model_path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(model_path, ignored)) return load_gguf_tokenizer(model_path);
  if (fs::exists(fs::path(model_path) / "tokenizer.model", ignored))
    return load_sentencepiece(model_path);
  if (fs::exists(fs::path(model_path) / "tokenizer.json", ignored))
    return load_tokenizer_json(model_path);
  throw file_error(model_path, "holds neither tokenizer.model nor tokenizer.json");
}

}  // namespace kvx::model
