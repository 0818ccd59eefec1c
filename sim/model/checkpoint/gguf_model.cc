// A GGUF file of architecture llama, qwen2 or qwen3 as a checkpoint: its keys as a configuration,
// its tensors under their Hugging Face names.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "sim/model/checkpoint/architectures.h"
#include "sim/model/checkpoint/gguf.h"
#include "sim/model/checkpoint/loaded.h"

namespace kvx::model {
namespace {

// The keys of the file's architecture, "llama.block_count" and so on.
class ModelKeys {
 public:
  ModelKeys(const Gguf& gguf, const std::string& prefix) : gguf_(gguf), prefix_(prefix + ".") {}

  std::string operator()(const std::string& name) const { return prefix_ + name; }
  bool has(const std::string& name) const { return gguf_.find((*this)(name)) != nullptr; }
  std::string string(const std::string& name, const std::string& fallback) const {
    return gguf_.string((*this)(name), fallback);
  }

  int64_t count(const std::string& name, std::optional<int64_t> fallback = {}) const {
    return gguf_.integer((*this)(name), fallback);
  }
  int64_t positive(const std::string& name, std::optional<int64_t> fallback = {}) const {
    const int64_t value = count(name, fallback);
    if (value < 1) throw wrong(name, value, "positive");
    return value;
  }
  double number(const std::string& name, double low, double high,
                std::optional<double> fallback = {}) const {
    const double value = gguf_.number((*this)(name), fallback);
    if (!(value >= low && value <= high))
      throw wrong(name, value, fmt::format("a number from {} to {}", low, high));
    return value;
  }

  template <class T>
  Error wrong(const std::string& name, const T& value, const std::string& expected) const {
    return file_error(gguf_.path(),
                      fmt::format("key '{}' is {}, not {}", (*this)(name), value, expected));
  }
  template <class T>
  Error unsupported(const std::string& name, const T& value, const std::string& missing) const {
    return file_error(gguf_.path(), fmt::format("key '{}' is {}: not supported: missing {}",
                                                (*this)(name), value, missing));
  }
  // Throws for a key of the architecture that is not in the list.
  void require_known(std::span<const char* const> names) const {
    for (const auto& [key, value] : gguf_.values()) {
      const bool known = std::ranges::any_of(
          names, [&key = key, this](const char* name) { return key == (*this)(name); });
      if (key.starts_with(prefix_) && !known)
        throw file_error(gguf_.path(), fmt::format("key {} is not supported", printable(key)));
    }
  }

 private:
  const Gguf& gguf_;
  std::string prefix_;
};

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
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
};

num::RopeScaling read_rope_scaling(const ModelKeys& keys) {
  const std::string type = keys.string("rope.scaling.type", "none");
  if (type == "linear") {
    return {.rule = num::RopeScaling::Rule::kLinear,
            .factor = keys.number("rope.scaling.factor", 1, HUGE_VAL)};
  }
  if (type != "none") {
    throw keys.unsupported("rope.scaling.type", printable(type),
                           "scaled rotary frequencies of this type (linear is read)");
  }
  if (keys.has("rope.scaling.factor")) {
    throw keys.unsupported("rope.scaling.factor", keys.number("rope.scaling.factor", 0, HUGE_VAL),
                           "'rope.scaling.type' linear beside it");
  }
  return {};
}

bool has_tensor(const Gguf& gguf, std::string_view name) {
  return std::ranges::any_of(
      gguf.tensors(), [&](const StoredTensor& tensor) { return tensor.stored_name == name; });
}

int64_t read_vocab(const Gguf& gguf, const ModelKeys& keys) {
  const auto found =
      std::ranges::find(gguf.tensors(), "token_embd.weight", &StoredTensor::stored_name);
  if (found == gguf.tensors().end())
    throw file_error(gguf.path(), "tensor 'token_embd.weight' is missing");
  const int64_t rows = found->shape[0];
  const auto require = [&](const std::string& key, uint64_t count) {
    if (count == static_cast<uint64_t>(rows)) return;
    throw file_error(gguf.path(),
                     fmt::format("key '{}' says {} tokens, tensor 'token_embd.weight' has {} rows",
                                 key, count, rows));
  };
  const GgufValue* tokens = gguf.find("tokenizer.ggml.tokens");
  if (tokens != nullptr) require("tokenizer.ggml.tokens", tokens->count);
  require(keys("vocab_size"), static_cast<uint64_t>(keys.count("vocab_size", rows)));
  return rows;
}

ModelConfig read_config(const Gguf& gguf, const Architecture& architecture) {
  const ModelKeys keys(gguf, architecture.gguf_name);
  keys.require_known(kKnownKeys);
  for (const char* name : {"expert_count", "expert_used_count"}) {
    const int64_t experts = keys.count(name, 0);
    if (experts != 0) throw keys.unsupported(name, experts, "mixture of experts");
  }
  ModelConfig config;
  config.architecture = architecture.name;
  config.hidden = keys.positive("embedding_length");
  config.layers = keys.positive("block_count");
  config.heads = keys.positive("attention.head_count");
  config.kv_heads = keys.positive("attention.head_count_kv", config.heads);
  config.ffn = keys.positive("feed_forward_length");
  config.max_positions = keys.positive("context_length");
  config.vocab = read_vocab(gguf, keys);
  config.rms_eps = static_cast<float>(keys.number("attention.layer_norm_rms_epsilon", 1e-30, 1));
  config.rope_theta = keys.number("rope.freq_base", 1, kMaxRopeTheta, 10000);
  config.rope_scaling = read_rope_scaling(keys);
  config.sliding_window = keys.count("attention.sliding_window", 0);
  config.tied = !has_tensor(gguf, "output.weight");
  config.qkv_bias = architecture.qkv_bias || has_tensor(gguf, "blk.0.attn_q.bias");
  config.output_bias = has_tensor(gguf, "blk.0.attn_output.bias");
  config.qk_norm = architecture.qk_norm;
  if (config.heads % config.kv_heads != 0) {
    throw keys.wrong("attention.head_count_kv", config.kv_heads,
                     fmt::format("a divisor of {} heads", config.heads));
  }
  const bool given = keys.has("attention.key_length");
  if (!given && config.hidden % config.heads != 0) {
    throw keys.wrong("attention.head_count", config.heads,
                     fmt::format("a divisor of {} channels", config.hidden));
  }
  config.head_dim = given ? keys.positive("attention.key_length") : config.hidden / config.heads;
  // Keys that may only repeat what is known.
  for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
    const int64_t value = keys.positive(name, config.head_dim);
    if (value != config.head_dim)
      throw keys.wrong(name, value, fmt::format("the {} of a head", config.head_dim));
  }
  if (config.head_dim % 2 != 0) {
    throw file_error(
        gguf.path(),
        fmt::format("head dimension {} is odd: rotary pairs need an even one", config.head_dim));
  }
  return config;
}

// "blk.3.attn_q.weight" as "model.layers.3.self_attn.q_proj.weight"; a name that is
// not known becomes one that no checkpoint asks for.
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
      {"attn_q.bias", "self_attn.q_proj.bias"},
      {"attn_k.bias", "self_attn.k_proj.bias"},
      {"attn_v.bias", "self_attn.v_proj.bias"},
      {"attn_output.bias", "self_attn.o_proj.bias"},
      {"attn_q_norm.weight", "self_attn.q_norm.weight"},
      {"attn_k_norm.weight", "self_attn.k_norm.weight"},
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
  // A frequency above one radian per position is no rotary embedding.
  for (size_t i = 0; i < out.size(); ++i) {
    if (!(out[i] >= 1) || !std::isfinite(out[i])) {
      throw file_error(stored->file, fmt::format("tensor '{}' has {} at {}, not a number from 1 on",
                                                 kName, out[i], i));
    }
  }
  if (config.rope_scaling != num::RopeScaling{}) {
    throw file_error(
        stored->file,
        fmt::format("tensor '{}' beside scaled rotary frequencies: not supported", kName));
  }
  return out;
}

// Heads of a tensor whose rows the file has interleaved: GGUF's llama does it to q and k.
int64_t interleaved_heads(const std::string& stored_name, const ModelConfig& config) {
  for (const char* kind : {"weight", "bias"}) {
    if (stored_name.ends_with(fmt::format(".attn_q.{}", kind))) return config.heads;
    if (stored_name.ends_with(fmt::format(".attn_k.{}", kind))) return config.kv_heads;
  }
  return 0;
}

}  // namespace

LoadedFiles load_gguf(const std::string& path) {
  LoadedFiles out(path);
  out.files.push_back(std::make_unique<MappedFile>(path));
  const Gguf gguf(*out.files.back());
  const std::string name = gguf.string("general.architecture");
  const Architecture* architecture = architecture_of_gguf(name);
  if (architecture == nullptr) throw unsupported_architecture(path, name);
  out.config = read_config(gguf, *architecture);
  for (StoredTensor tensor : gguf.tensors()) {
    if (architecture->gguf_interleaves)
      tensor.rotate_half_heads = interleaved_heads(tensor.stored_name, out.config);
    const std::string known_as = hugging_face_name(tensor.stored_name);
    out.tensors.add(known_as, std::move(tensor));
  }
  out.tensors.require_decoder(out.config);
  out.rope_divisors = read_rope_divisors(out.tensors, out.config);
  return out;
}

}  // namespace kvx::model
