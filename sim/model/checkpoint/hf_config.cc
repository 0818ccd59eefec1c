#include "sim/model/checkpoint/hf_config.h"

#include <fmt/format.h>

#include "sim/model/checkpoint/architectures.h"
#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/hf_rope.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::model {
namespace {

using nlohmann::json;

const Architecture& read_architecture(const JsonFields& fields) {
  const json& names = fields.require("architectures");
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    throw fields.wrong("architectures", "a list of one name");
  }
  const std::string name = names[0].get<std::string>();
  const Architecture* found = architecture_of_hf(name);
  if (found == nullptr) throw unsupported_architecture(fields.file(), name);
  return *found;
}

void refuse_what_is_not_computed(const JsonFields& fields, const Architecture& architecture) {
  if (fields.find("quantization_config") != nullptr) {
    throw fields.unsupported("quantization_config", "quantised weights in safetensors");
  }
  if (fields.boolean("mlp_bias", false)) throw fields.unsupported("mlp_bias", "biases of the MLP");
  // Qwen2 has its biases whatever this key says.
  const bool may_have_biases = architecture.optional_bias || architecture.qkv_bias;
  if (!may_have_biases && fields.boolean("attention_bias", false)) {
    throw fields.unsupported("attention_bias", fmt::format("biases in {}", architecture.name));
  }
  if (fields.string("hidden_act", "silu") != "silu") {
    throw fields.unsupported("hidden_act", "any activation but silu");
  }
}

bool names_sliding_layer(const JsonFields& fields) {
  const json* types = fields.find("layer_types");
  if (types == nullptr) return false;
  if (!types->is_array()) throw fields.wrong("layer_types", "a list");
  bool sliding = false;
  for (const json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention")
      throw fields.unsupported("layer_types", "any but full_attention and sliding_attention");
    sliding |= type == "sliding_attention";
  }
  return sliding;
}

// Positions that a query reads in the layers that have a window; 0 where none has. Where a key is
// absent, Hugging Face's defaults hold.
int64_t read_window(const JsonFields& fields, const Architecture& architecture, int64_t layers) {
  constexpr int64_t kDefault = 4096, kDefaultFirstLayer = 28;
  const bool null = fields.object().contains("sliding_window") && !fields.find("sliding_window");
  if (names_sliding_layer(fields)) {
    if (null) throw fields.wrong("sliding_window", "what the sliding layers of layer_types need");
    return fields.integer("sliding_window", kDefault);
  }
  bool used = architecture.window == WindowRule::kAlways;
  if (architecture.window == WindowRule::kSwitched) {
    used = fields.boolean("use_sliding_window", false) &&
           fields.integer("max_window_layers", kDefaultFirstLayer, 0) < layers;
  }
  return used && !null ? fields.integer("sliding_window", kDefault) : 0;
}

}  // namespace

ModelConfig read_hf_config(const std::string& path) {
  constexpr size_t kLimit = size_t{1} << 20;
  const json object = read_json_object(path, kLimit);
  const JsonFields fields(object, path);
  ModelConfig config;
  const Architecture& architecture = read_architecture(fields);
  refuse_what_is_not_computed(fields, architecture);
  const bool biases = architecture.optional_bias && fields.boolean("attention_bias", false);
  const HfRope rope = read_hf_rope(fields);
  config.architecture = architecture.name;
  config.qkv_bias = architecture.qkv_bias || biases;
  config.output_bias = biases;
  config.qk_norm = architecture.qk_norm;
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
  config.rope_theta = rope.theta;
  config.rope_scaling = rope.scaling;
  config.sliding_window = read_window(fields, architecture, config.layers);
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
