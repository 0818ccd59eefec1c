// Byte-level BPE from a Hugging Face tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/json.h"
#include "sim/model/checkpoint/sha256.h"
#include "sim/model/tokenizer/bpe.h"
#include "sim/model/tokenizer/loaders.h"
#include "sim/model/tokenizer/splitter.h"
#include "sim/model/tokenizer/tokenizer_config.h"

namespace kvx::model {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxJsonFile = size_t{128} << 20;
constexpr size_t kMaxConfig = size_t{16} << 20;

Error unsupported(const std::string& file, const std::string& what, const std::string& missing) {
  return file_error(file, fmt::format("{} is not supported: missing {}", what, missing));
}

const json& require_array(const JsonFields& fields, const std::string& key) {
  const json& value = fields.require(key);
  if (!value.is_array()) throw fields.wrong(key, "a list");
  return value;
}

// Steps of a "Sequence", or the one step that is there.
std::vector<JsonFields> steps(const JsonFields& fields, const std::string& key,
                              const std::string& list) {
  const json* value = fields.find(key);
  if (value == nullptr) return {};
  const JsonFields step(*value, fields.file(), key + ".");
  if (step.string("type") != "Sequence") return {step};
  std::vector<JsonFields> out;
  for (const json& item : require_array(step, list))
    out.emplace_back(item, fields.file(), key + ".");
  return out;
}

std::string split_pattern(const JsonFields& step) {
  const JsonFields pattern(step.require("pattern"), step.file(), "pre_tokenizer.pattern.");
  if (step.string("behavior") != "Isolated" || step.boolean("invert", false)) {
    throw unsupported(step.file(), "pre_tokenizer.behavior " + printable(step.string("behavior")),
                      "any Split but Isolated");
  }
  if (pattern.find("Regex") != nullptr) return pattern.string("Regex");
  std::string literal;
  for (const char c : pattern.string("String")) {
    const bool plain = static_cast<unsigned char>(c) >= 0x80 || std::isalnum(c) != 0;
    if (!plain) literal += '\\';
    literal += c;
  }
  return literal;
}

void read_pre_tokenizer(const JsonFields& file, BpeSpec& spec) {
  bool byte_level = false;
  std::string names;
  for (const JsonFields& step : steps(file, "pre_tokenizer", "pretokenizers")) {
    const std::string type = step.string("type");
    if (byte_level)
      throw unsupported(file.file(), "pre_tokenizer " + printable(type) + " after ByteLevel", "it");
    if (type == "Digits") {
      spec.split_patterns.push_back(step.boolean("individual_digits", false) ? kDigitPattern
                                                                             : R"(\p{N}+)");
    } else if (type == "Split") {
      spec.split_patterns.push_back(split_pattern(step));
    } else if (type == "ByteLevel") {
      if (step.boolean("add_prefix_space", true)) {
        throw unsupported(file.file(), "pre_tokenizer.add_prefix_space", "a space before the text");
      }
      if (step.boolean("use_regex", true)) spec.split_patterns.push_back(kGpt2Pattern);
      byte_level = true;
    } else {
      throw unsupported(file.file(), "pre_tokenizer " + printable(type),
                        "all but Digits, Split and ByteLevel");
    }
    names += (names.empty() ? "" : "+") + type;
  }
  if (!byte_level)
    throw unsupported(file.file(), "pre_tokenizer without ByteLevel", "all but byte-level BPE");
  spec.kind = fmt::format("byte-level bpe ({})", names);
}

void set_token(BpeSpec& spec, const json& id, const std::string& text, size_t limit,
               const std::string& field) {
  const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < limit;
  if (!fits) {
    throw file_error(spec.source,
                     fmt::format("field '{}' gives token {} the id {}, not one below {}", field,
                                 printable(text), printable(id.dump(-1, ' ', true)), limit));
  }
  const auto index = id.get<size_t>();
  if (spec.tokens.size() <= index) spec.tokens.resize(index + 1);
  std::string& token = spec.tokens[index];
  if (text.empty() || (!token.empty() && token != text)) {
    throw file_error(spec.source, fmt::format("field '{}' gives id {} to {}, it is {} already",
                                              field, index, printable(text), printable(token)));
  }
  token = text;
}

std::pair<std::string, std::string> read_merge(const JsonFields& model, const json& merge,
                                               size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && space > 0 && space + 1 < text.size()) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  throw file_error(model.file(), fmt::format("field 'model.merges[{}]' is {}, not two tokens",
                                             index, printable(merge.dump(-1, ' ', true))));
}

void read_model(const JsonFields& file, BpeSpec& spec) {
  const JsonFields model(file.require("model"), file.file(), "model.");
  if (model.string("type", "BPE") != "BPE") {
    throw unsupported(file.file(), "model.type " + printable(model.string("type")), "all but BPE");
  }
  if (model.find("dropout") != nullptr)
    throw unsupported(file.file(), "model.dropout", "random merges");
  if (model.boolean("byte_fallback", false))
    throw unsupported(file.file(), "model.byte_fallback", "it");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(key, "").empty())
      throw unsupported(file.file(), fmt::format("model.{}", key), "it");
  }
  spec.ignore_merges = model.boolean("ignore_merges", false);

  const json& vocab = model.require("vocab");
  if (!vocab.is_object()) throw model.wrong("vocab", "an object");
  const json none = json::array();
  const json& added =
      file.find("added_tokens") != nullptr ? require_array(file, "added_tokens") : none;
  const size_t limit = vocab.size() + added.size();
  for (const auto& [token, id] : vocab.items()) set_token(spec, id, token, limit, "model.vocab");
  for (const json& item : added) {
    const JsonFields token(item, file.file(), "added_tokens.");
    const std::string text = token.string("content");
    set_token(spec, token.require("id"), text, limit, "added_tokens");
    const bool special = token.boolean("special", false);
    spec.added.push_back({.id = token.require("id").get<int32_t>(),
                          .text = text,
                          .special = special,
                          .lstrip = token.boolean("lstrip", false),
                          .rstrip = token.boolean("rstrip", false),
                          .single_word = token.boolean("single_word", false),
                          .normalized = token.boolean("normalized", !special),
                          .in_model = vocab.contains(text)});
  }
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.tokens[id].empty()) {
      throw file_error(spec.source, fmt::format("field 'model.vocab' has no token of id {}", id));
    }
  }

  const json& merges = require_array(model, "merges");
  for (size_t i = 0; i < merges.size(); ++i) spec.merges.push_back(read_merge(model, merges[i], i));
  if (model.find("unk_token") != nullptr) {
    const auto found = vocab.find(model.string("unk_token"));
    if (found == vocab.end()) throw model.wrong("unk_token", "a token of the vocabulary");
    if (model.boolean("fuse_unk", false)) throw unsupported(file.file(), "model.fuse_unk", "it");
    spec.unknown = found->get<int32_t>();
  }
}

int32_t id_of_text(const BpeSpec& spec, const std::string& text) {
  for (const AddedToken& token : spec.added) {
    if (token.text == text) return token.id;
  }
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? -1 : static_cast<int32_t>(found - spec.tokens.begin());
}

// The template of a single text may put one special token before it.
void read_post_processor(const JsonFields& file, BpeSpec& spec) {
  for (const JsonFields& step : steps(file, "post_processor", "processors")) {
    const std::string type = step.string("type");
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing") {
      throw unsupported(file.file(), "post_processor " + printable(type),
                        "all but ByteLevel and TemplateProcessing");
    }
    const json& single = require_array(step, "single");
    const bool one = single.size() == 1 && single[0].contains("Sequence");
    const bool two =
        single.size() == 2 && single[0].contains("SpecialToken") && single[1].contains("Sequence");
    if (!one && !two) {
      throw unsupported(file.file(),
                        "post_processor.single " + printable(single.dump(-1, ' ', true)),
                        "all but one token before a text");
    }
    if (one) continue;
    const JsonFields token(single[0]["SpecialToken"], file.file(),
                           "post_processor.single.SpecialToken.");
    spec.bos = id_of_text(spec, token.string("id"));
    if (spec.bos < 0) throw token.wrong("id", "a token of the vocabulary");
    spec.add_bos = true;
  }
}

// A special token's id: by its text in tokenizer_config.json, else by its id in config.json, of
// several the first.
int32_t read_special(const std::string& folder, const BpeSpec& spec, const TokenizerConfig& config,
                     const std::optional<std::string>& text, const std::string& name) {
  if (text) {
    const int32_t id = id_of_text(spec, *text);
    if (id < 0) {
      throw file_error(config.path, fmt::format("field '{}' is {}, not a token of tokenizer.json",
                                                name, printable(*text)));
    }
    return id;
  }
  std::error_code ignored;
  const std::string by_id = (fs::path(folder) / "config.json").string();
  if (!fs::exists(by_id, ignored)) return -1;
  const json object = read_json_object(by_id, kMaxConfig);
  const JsonFields fields(object, by_id);
  const std::string key = name + "_id";
  const json* value = fields.find(key);
  if (value == nullptr) return -1;
  const json& first = value->is_array() && !value->empty() ? (*value)[0] : *value;
  if (!first.is_number_unsigned() || first.get<uint64_t>() >= spec.tokens.size()) {
    throw fields.wrong(key,
                       fmt::format("below the {} tokens of tokenizer.json", spec.tokens.size()));
  }
  return first.get<int32_t>();
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& folder) {
  BpeSpec spec;
  spec.source = (fs::path(folder) / "tokenizer.json").string();
  {
    const MappedFile file(spec.source);
    Sha256 hash;
    hash.update(file.bytes());
    spec.sha256 = hash.hex();
  }
  const json object = read_json_object(spec.source, kMaxJsonFile);
  const JsonFields fields(object, spec.source);
  for (const JsonFields& step : steps(fields, "normalizer", "normalizers")) {
    const std::string type = step.string("type");
    if (type != "NFC")
      throw unsupported(spec.source, "normalizer " + printable(type), "all but NFC");
    spec.nfc = true;
  }
  read_pre_tokenizer(fields, spec);
  read_model(fields, spec);
  const TokenizerConfig config = read_tokenizer_config(folder);
  spec.bos = read_special(folder, spec, config, config.bos, "bos_token");
  spec.eos = read_special(folder, spec, config, config.eos, "eos_token");
  read_post_processor(fields, spec);
  if (config.add_bos) {
    spec.add_bos = *config.add_bos;
    if (config.bos) spec.bos = id_of_text(spec, *config.bos);
  }
  return make_bpe_tokenizer(std::move(spec));
}

}  // namespace kvx::model
