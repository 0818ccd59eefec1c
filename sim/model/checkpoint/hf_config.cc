#include "sim/model/checkpoint/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::model {
namespace {

using nlohmann::json;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Error unsupported(const JsonFields& fields, const std::string& key, const std::string& missing) {
  const json& value = fields.require(key);
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true);
  return file_error(fields.file(), fmt::format("{} {} is not supported: missing {}", key,
                                               printable(text), missing));
}

std::string read_architecture(const JsonFields& fields) {
  const json& names = fields.require("architectures");
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    throw fields.wrong("architectures", "a list of one name");
  }
  std::string name = names[0].get<std::string>();
  if (name != "LlamaForCausalLM") throw unsupported_architecture(fields.file(), name);
  return name;
}

// Older files say "type", newer ones "rope_type"; the newest put rope_theta here too.
void require_default_rope(const JsonFields& fields, const std::string& key) {
  const json* value = fields.find(key);
  if (value == nullptr) return;
  if (!value->is_object()) throw fields.wrong(key, "an object or null");
  const JsonFields rope(*value, fields.file(), key + ".");
  for (const char* name : {"rope_type", "type"}) {
    if (rope.find(name) != nullptr && rope.string(name) != "default") {
      throw file_error(fields.file(),
                       fmt::format("{}.{} {} is not supported: missing scaled rotary frequencies",
                                   key, name, printable(rope.string(name))));
    }
  }
  if (rope.find("rope_type") == nullptr && rope.find("type") == nullptr) {
    throw file_error(fields.file(), fmt::format("field '{}.rope_type' is missing", key));
  }
}

void refuse_what_is_not_computed(const JsonFields& fields) {
  require_default_rope(fields, "rope_scaling");
  require_default_rope(fields, "rope_parameters");
  if (fields.find("quantization_config") != nullptr) {
    throw unsupported(fields, "quantization_config", "quantised weights in safetensors");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (fields.boolean(key, false)) throw unsupported(fields, key, "biases");
  }
  if (fields.string("hidden_act", "silu") != "silu") {
    throw unsupported(fields, "hidden_act", "any activation but silu");
  }
  if (fields.positive("partial_rotary_factor", 1.0) != 1.0) {
    throw unsupported(fields, "partial_rotary_factor", "partial rotation");
  }
}

double read_rope_theta(const JsonFields& fields) {
  constexpr double kDefault = 10000;
  const json* nested = fields.find("rope_parameters");
  if (fields.find("rope_theta") != nullptr || nested == nullptr) {
    return fields.positive("rope_theta", kDefault);
  }
  return JsonFields(*nested, fields.file(), "rope_parameters.").positive("rope_theta", kDefault);
}

}  // namespace

Error unsupported_architecture(const std::string& file, const std::string& name) {
  constexpr std::pair<const char*, const char*> kMissing[] = {
      {"qwen2", "q/k/v biases"},
      {"qwen3", "q/k normalisation"},
      {"mistral", "sliding-window attention"},
      {"mixtral", "mixture of experts"},
      {"gemma", "scaled embeddings and GELU"},
      {"phi", "fused projections"},
      {"gpt2", "learned positions and layer normalisation"},
  };
  std::string missing = "an implementation (LlamaForCausalLM is the one there is)";
  for (const auto& [key, what] : kMissing) {
    if (lower(name).starts_with(key)) missing = what;
  }
  return file_error(
      file, fmt::format("architecture {} is not supported: missing {}", printable(name), missing));
}

ModelConfig read_hf_config(const std::string& path) {
  constexpr size_t kLimit = size_t{1} << 20;
  const json object = read_json_object(path, kLimit);
  const JsonFields fields(object, path);
  ModelConfig config;
  config.architecture = read_architecture(fields);
  refuse_what_is_not_computed(fields);
  config.hidden = fields.integer("hidden_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  config.kv_heads = fields.integer("num_key_value_heads", config.heads);
  config.ffn = fields.integer("intermediate_size");
  config.vocab = fields.integer("vocab_size");
  config.max_positions = fields.integer("max_position_embeddings", 2048);
  const double eps = fields.positive("rms_norm_eps", 1e-6);
  if (eps > 1) throw fields.wrong("rms_norm_eps", "at most 1");
  config.rms_eps = static_cast<float>(eps);
  config.rope_theta = read_rope_theta(fields);
  config.tied = fields.boolean("tie_word_embeddings", false);
  if (config.heads % config.kv_heads != 0) {
    throw fields.wrong("num_key_value_heads", fmt::format("a divisor of {} heads", config.heads));
  }
  if (fields.find("head_dim") == nullptr && config.hidden % config.heads != 0) {
    throw fields.wrong(
        "num_attention_heads",
        fmt::format("a divisor of hidden_size {} (no head_dim is given)", config.hidden));
  }
  config.head_dim = fields.integer("head_dim", config.hidden / config.heads);
  if (config.head_dim % 2 != 0) {
    throw file_error(path, fmt::format("head dimension {} is odd: rotary pairs need an even one",
                                       config.head_dim));
  }
  return config;
}

}  // namespace kvx::model
