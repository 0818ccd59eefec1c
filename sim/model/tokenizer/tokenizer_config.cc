#include "sim/model/tokenizer/tokenizer_config.h"

#include <filesystem>
#include <system_error>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::model {
namespace {

constexpr size_t kMaxFile = size_t{16} << 20;

// A text, or an object that holds it.
std::optional<std::string> read_text(const JsonFields& fields, const std::string& key) {
  const nlohmann::json* value = fields.find(key);
  if (value == nullptr) return {};
  if (!value->is_object()) return fields.string(key);
  return JsonFields(*value, fields.file(), key + ".").string("content");
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::string& folder) {
  TokenizerConfig config;
  config.path = (std::filesystem::path(folder) / "tokenizer_config.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(config.path, ignored)) return config;
  const nlohmann::json object = read_json_object(config.path, kMaxFile);
  const JsonFields fields(object, config.path);
  if (fields.find("add_bos_token") != nullptr)
    config.add_bos = fields.boolean("add_bos_token", false);
  if (fields.boolean("add_eos_token", false)) {
    throw file_error(config.path,
                     "field 'add_eos_token' is true: not supported: missing EOS after a text");
  }
  config.bos = read_text(fields, "bos_token");
  config.eos = read_text(fields, "eos_token");
  return config;
}

}  // namespace kvx::model
