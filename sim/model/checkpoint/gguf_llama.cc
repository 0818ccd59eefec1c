// A GGUF file of architecture `llama` as a checkpoint: its keys as a configuration, its tensors
// under their Hugging Face names.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

#include "sim/model/checkpoint/gguf.h"
#include "sim/model/checkpoint/hf_config.h"
#include "sim/model/checkpoint/loaded.h"

namespace kvx::model {
namespace {

constexpr std::string_view kPrefix = "llama.";

// Keys that say nothing about what is computed, or that are read below.
constexpr std::array kKnownKeys = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
};

Error unsupported(const Gguf& gguf, const std::string& key, const std::string& value,
                  const std::string& missing) {
  return file_error(gguf.path(),
                    fmt::format("key '{}' is {}: not supported: missing {}", key, value, missing));
}

void refuse_what_is_not_computed(const Gguf& gguf) {
  for (const auto& [key, value] : gguf.values()) {
    if (!key.starts_with(kPrefix)) continue;
    bool known = false;
    for (const char* name : kKnownKeys) known |= key.substr(kPrefix.size()) == name;
    if (!known)
      throw file_error(gguf.path(), fmt::format("key {} is not supported", printable(key)));
  }
  const std::string scaling = gguf.string("llama.rope.scaling.type", "none");
  if (scaling != "none") {
    throw unsupported(gguf, "llama.rope.scaling.type", printable(scaling),
                      "scaled rotary frequencies");
  }
  for (const char* key : {"llama.expert_count", "llama.expert_used_count"}) {
    const int64_t experts = gguf.integer(key, 0);
    if (experts != 0)
      throw unsupported(gguf, key, fmt::format("{}", experts), "mixture of experts");
  }
}

int64_t positive(const Gguf& gguf, const std::string& name, std::optional<int64_t> fallback = {}) {
  const std::string key = std::string(kPrefix) + name;
  const int64_t value = gguf.integer(key, fallback);
  if (value < 1)
    throw file_error(gguf.path(), fmt::format("key '{}' is {}, not positive", key, value));
  return value;
}

// A key that may only repeat what another one says.
void require_equal(const Gguf& gguf, const std::string& name, int64_t expected,
                   const std::string& of) {
  const int64_t value = positive(gguf, name, expected);
  if (value != expected) {
    throw file_error(gguf.path(), fmt::format("key 'llama.{}' is {}, not the {} of {}", name, value,
                                              expected, of));
  }
}

double positive_number(const Gguf& gguf, const std::string& key, std::optional<double> fallback,
                       double high) {
  const double value = gguf.number(key, fallback);
  if (!(value > 0 && value <= high)) {
    throw file_error(gguf.path(),
                     fmt::format("key '{}' is {}, not above 0 and at most {}", key, value, high));
  }
  return value;
}

int64_t read_vocab(const Gguf& gguf) {
  for (const StoredTensor& tensor : gguf.tensors()) {
    if (tensor.stored_name != "token_embd.weight") continue;
    const int64_t rows = tensor.shape[0];
    const auto disagree = [&](const char* key, uint64_t count) {
      return file_error(
          gguf.path(),
          fmt::format("key '{}' says {} tokens, tensor 'token_embd.weight' has {} rows", key, count,
                      rows));
    };
    const GgufValue* tokens = gguf.find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->count != static_cast<uint64_t>(rows)) {
      throw disagree("tokenizer.ggml.tokens", tokens->count);
    }
    const int64_t said = gguf.integer("llama.vocab_size", rows);
    if (said != rows) throw disagree("llama.vocab_size", static_cast<uint64_t>(said));
    return rows;
  }
  throw file_error(gguf.path(), "tensor 'token_embd.weight' is missing");
}

ModelConfig read_config(const Gguf& gguf) {
  const std::string architecture = gguf.string("general.architecture");
  if (architecture != "llama") throw unsupported_architecture(gguf.path(), architecture);
  refuse_what_is_not_computed(gguf);
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.hidden = positive(gguf, "embedding_length");
  config.layers = positive(gguf, "block_count");
  config.heads = positive(gguf, "attention.head_count");
  config.kv_heads = positive(gguf, "attention.head_count_kv", config.heads);
  config.ffn = positive(gguf, "feed_forward_length");
  config.max_positions = positive(gguf, "context_length");
  config.vocab = read_vocab(gguf);
  config.rms_eps =
      static_cast<float>(positive_number(gguf, "llama.attention.layer_norm_rms_epsilon", {}, 1));
  config.rope_theta = positive_number(gguf, "llama.rope.freq_base", 10000, HUGE_VAL);
  config.tied = true;
  for (const StoredTensor& tensor : gguf.tensors()) {
    if (tensor.stored_name == "output.weight") config.tied = false;
  }
  if (config.heads % config.kv_heads != 0) {
    throw file_error(
        gguf.path(),
        fmt::format("key 'llama.attention.head_count_kv' is {}, not a divisor of {} heads",
                    config.kv_heads, config.heads));
  }
  const bool given = gguf.find("llama.attention.key_length") != nullptr;
  if (!given && config.hidden % config.heads != 0) {
    throw file_error(
        gguf.path(),
        fmt::format("key 'llama.attention.head_count' is {}, not a divisor of {} channels",
                    config.heads, config.hidden));
  }
  config.head_dim = given ? positive(gguf, "attention.key_length") : config.hidden / config.heads;
  require_equal(gguf, "attention.value_length", config.head_dim, "attention.key_length");
  require_equal(gguf, "rope.dimension_count", config.head_dim, "a head");
  if (config.head_dim % 2 != 0) {
    throw file_error(
        gguf.path(),
        fmt::format("head dimension {} is odd: rotary pairs need an even one", config.head_dim));
  }
  return config;
}

// "blk.3.attn_q.weight" as "model.layers.3.self_attn.q_proj.weight"; a name that GGUF's Llama does
// not know becomes one that no checkpoint asks for.
std::string hugging_face_name(const std::string& name) {
  constexpr std::pair<std::string_view, std::string_view> kWhole[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"rope_freqs.weight", "rope_freqs.weight"},
  };
  constexpr std::pair<std::string_view, std::string_view> kInLayer[] = {
      {"attn_norm.weight", "input_layernorm.weight"},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_k.weight", "self_attn.k_proj.weight"},
      {"attn_v.weight", "self_attn.v_proj.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
  };
  for (const auto& [from, to] : kWhole) {
    if (name == from) return std::string(to);
  }
  constexpr std::string_view kLayer = "blk.";
  const size_t dot = name.find('.', kLayer.size());
  if (!name.starts_with(kLayer) || dot == std::string::npos) return "gguf:" + name;
  const std::string number = name.substr(kLayer.size(), dot - kLayer.size());
  for (const auto& [from, to] : kInLayer) {
    if (name.substr(dot + 1) == from) return fmt::format("model.layers.{}.{}", number, to);
  }
  return "gguf:" + name;
}

std::vector<float> read_rope_divisors(const TensorTable& tensors, const ModelConfig& config) {
  constexpr const char* kName = "rope_freqs.weight";
  const StoredTensor* stored = tensors.find(kName);
  if (stored == nullptr) return {};
  const TensorRef ref = tensors.get(kName, 1, config.head_dim / 2);
  std::vector<float> out(static_cast<size_t>(ref.cols));
  read_row(ref, 0, out);
  for (size_t i = 0; i < out.size(); ++i) {
    if (!(out[i] > 0) || !std::isfinite(out[i])) {
      throw file_error(stored->file, fmt::format("tensor '{}' has {} at {}, not a positive number",
                                                 kName, out[i], i));
    }
  }
  return out;
}

}  // namespace

LoadedFiles load_gguf(const std::string& path) {
  LoadedFiles out(path);
  out.files.push_back(std::make_unique<MappedFile>(path));
  const Gguf gguf(*out.files.back());
  out.config = read_config(gguf);
  for (StoredTensor tensor : gguf.tensors()) {
    if (tensor.stored_name.ends_with(".attn_q.weight")) tensor.rotate_half_heads = out.config.heads;
    if (tensor.stored_name.ends_with(".attn_k.weight"))
      tensor.rotate_half_heads = out.config.kv_heads;
    const std::string name = hugging_face_name(tensor.stored_name);
    out.tensors.add(name, std::move(tensor));
  }
  out.tensors.require_llama(out.config);
  out.rope_divisors = read_rope_divisors(out.tensors, out.config);
  return out;
}

}  // namespace kvx::model
