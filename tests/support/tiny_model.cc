#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "sim/num/formats.h"

namespace kvx::test {
namespace {

using model::DType;
using nlohmann::json;

uint64_t mix(uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// The sum of four 16-bit uniform numbers, centred and divided by 2^15: standard deviation 1.15.
float bell(uint64_t hash) {
  int32_t sum = -131070;
  for (int i = 0; i < 4; ++i) sum += static_cast<int32_t>(hash >> (16 * i) & 0xFFFF);
  return static_cast<float>(sum) * 0x1p-15f;
}

float round_to(float x, DType dtype) {
  if (dtype == DType::kF16) return num::f16_decode(num::f16_encode(x));
  if (dtype == DType::kBf16) return num::bf16_decode(num::bf16_encode(x));
  return x;
}

// The alphabet of byte-level BPE: printable Latin-1 stands for itself, other bytes for U+0100 and
// up in order.
std::string byte_symbol(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

struct TinyVocabulary {
  std::vector<std::string> tokens;
  std::vector<std::pair<std::string, std::string>> merges;
};

TinyVocabulary tiny_vocabulary(int64_t size) {
  const std::string letters = "etaoinshrdlucmfwypvbgkjxqz";
  TinyVocabulary out;
  out.tokens = {"<|endoftext|>", "<|im_start|>"};
  for (int byte = 0; byte < 256; ++byte) out.tokens.push_back(byte_symbol(byte));
  std::vector<std::string> firsts = {byte_symbol(' ')};
  for (const char c : letters) firsts.emplace_back(1, c);
  for (const std::string& first : firsts) {
    for (const char second : letters) {
      if (static_cast<int64_t>(out.tokens.size()) >= size) break;
      out.merges.emplace_back(first, std::string(1, second));
      out.tokens.push_back(first + second);
    }
  }
  if (static_cast<int64_t>(out.tokens.size()) != size) {
    throw std::invalid_argument("a tiny vocabulary has 258 to 960 tokens");
  }
  return out;
}

const char* safetensors_type(DType dtype) { return model::dtype_name(dtype); }

std::string gguf_architecture(const TinyModelSpec& spec) {
  if (spec.architecture == "Qwen2ForCausalLM") return "qwen2";
  return spec.architecture == "Qwen3ForCausalLM" ? "qwen3" : "llama";
}

std::string gguf_name(const std::string& name) {
  static const std::vector<std::pair<std::string, std::string>> kNames = {
      {"model.embed_tokens", "token_embd"},
      {"model.norm", "output_norm"},
      {"lm_head", "output"},
      {"model.layers.", "blk."},
      {"input_layernorm", "attn_norm"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
  };
  std::string out = name;
  for (const auto& [from, to] : kNames) {
    const size_t at = out.find(from);
    if (at != std::string::npos) out.replace(at, from.size(), to);
  }
  return out;
}

}  // namespace

TinyModelSpec smallest_tiny_model() {
  TinyModelSpec spec;
  spec.hidden = 32;
  spec.layers = 1;
  spec.heads = 2;
  spec.kv_heads = 1;
  spec.head_dim = 16;
  spec.ffn = 32;
  spec.vocab = 260;
  spec.dtype = DType::kF16;
  return spec;
}

TinyModelSpec small_tiny_model() {
  TinyModelSpec spec;
  spec.hidden = 96;
  spec.layers = 2;
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.head_dim = 32;
  spec.ffn = 136;
  spec.vocab = 300;
  spec.seed = 7;
  return spec;
}

std::vector<TinyTensor> tiny_tensors(const TinyModelSpec& spec) {
  const int64_t q = spec.heads * spec.head_dim;
  const int64_t kv = spec.kv_heads * spec.head_dim;
  std::vector<TinyTensor> out = {{"model.embed_tokens.weight", spec.vocab, spec.hidden},
                                 {"model.norm.weight", 1, spec.hidden}};
  if (!spec.tied) out.push_back({"lm_head.weight", spec.vocab, spec.hidden});
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    out.push_back({prefix + "input_layernorm.weight", 1, spec.hidden});
    out.push_back({prefix + "self_attn.q_proj.weight", q, spec.hidden});
    out.push_back({prefix + "self_attn.k_proj.weight", kv, spec.hidden});
    out.push_back({prefix + "self_attn.v_proj.weight", kv, spec.hidden});
    out.push_back({prefix + "self_attn.o_proj.weight", spec.hidden, q});
    if (spec.has_qkv_bias()) {
      out.push_back({prefix + "self_attn.q_proj.bias", q, 1});
      out.push_back({prefix + "self_attn.k_proj.bias", kv, 1});
      out.push_back({prefix + "self_attn.v_proj.bias", kv, 1});
    }
    if (spec.attention_bias) out.push_back({prefix + "self_attn.o_proj.bias", spec.hidden, 1});
    if (spec.has_qk_norm()) {
      out.push_back({prefix + "self_attn.q_norm.weight", 1, spec.head_dim});
      out.push_back({prefix + "self_attn.k_norm.weight", 1, spec.head_dim});
    }
    out.push_back({prefix + "post_attention_layernorm.weight", 1, spec.hidden});
    out.push_back({prefix + "mlp.gate_proj.weight", spec.ffn, spec.hidden});
    out.push_back({prefix + "mlp.up_proj.weight", spec.ffn, spec.hidden});
    out.push_back({prefix + "mlp.down_proj.weight", spec.hidden, spec.ffn});
  }
  return out;
}

std::vector<float> tiny_weights(const TinyModelSpec& spec, size_t index) {
  const TinyTensor tensor = tiny_tensors(spec).at(index);
  float scale =
      tensor.cols == 1 ? 0.25f : 1;  // a power of two near 1/sqrt(cols): products with it are exact
  while (scale * scale * static_cast<float>(tensor.cols) > 1) scale *= 0.5f;
  std::vector<float> out(static_cast<size_t>(tensor.rows * tensor.cols));
  const uint64_t stream = mix(mix(spec.seed) + index);
  for (size_t i = 0; i < out.size(); ++i) {
    const float x = bell(mix(stream + (i + 1) * 0x9E3779B97F4A7C15u));
    out[i] = round_to(tensor.rows == 1 ? 1 + x * 0.125f : x * scale, spec.dtype);
  }
  return out;
}

std::string tiny_config_json(const TinyModelSpec& spec) {
  json config = {{"architectures", {spec.architecture}},
                 {"model_type", gguf_architecture(spec)},
                 {"hidden_size", spec.hidden},
                 {"intermediate_size", spec.ffn},
                 {"num_hidden_layers", spec.layers},
                 {"num_attention_heads", spec.heads},
                 {"num_key_value_heads", spec.kv_heads},
                 {"head_dim", spec.head_dim},
                 {"vocab_size", spec.vocab},
                 {"max_position_embeddings", spec.max_positions},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", spec.tied},
                 {"bos_token_id", 1},
                 {"eos_token_id", 0}};
  if (spec.attention_bias) config["attention_bias"] = true;
  if (spec.architecture == "MistralForCausalLM") config["sliding_window"] = nullptr;
  if (spec.rope_scaling.rule == num::RopeScaling::Rule::kLinear)
    config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", spec.rope_scaling.factor}};
  if (spec.rope_scaling.rule == num::RopeScaling::Rule::kLlama3) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", spec.rope_scaling.factor},
                              {"low_freq_factor", spec.rope_scaling.low},
                              {"high_freq_factor", spec.rope_scaling.high},
                              {"original_max_position_embeddings", spec.rope_scaling.original}};
  }
  return config.dump(1) + "\n";
}

std::vector<SafetensorsEntry> tiny_safetensors(const TinyModelSpec& spec) {
  std::vector<SafetensorsEntry> out;
  const std::vector<TinyTensor> tensors = tiny_tensors(spec);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TinyTensor& tensor = tensors[i];
    const std::vector<float> weights = tiny_weights(spec, i);
    std::vector<int64_t> shape = {tensor.rows, tensor.cols};
    if (tensor.rows == 1 || tensor.cols == 1) shape = {tensor.rows * tensor.cols};
    out.push_back({tensor.name, safetensors_type(spec.dtype), shape,
                   encode_row(weights.data(), tensor.rows * tensor.cols, spec.dtype)});
  }
  return out;
}

std::string tiny_tokenizer_json(const TinyModelSpec& spec) {
  const TinyVocabulary vocabulary = tiny_vocabulary(spec.vocab);
  json vocab = json::object();
  json added = json::array();
  json merges = json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) vocab[vocabulary.tokens[id]] = id;
  for (int id = 0; id < 2; ++id) {
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[static_cast<size_t>(id)]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const json file = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {digits, byte_level}}}},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"vocab", vocab},
        {"merges", merges}}}};
  return file.dump();
}

void write_tiny_model(const std::filesystem::path& folder, const TinyModelSpec& spec) {
  std::filesystem::create_directories(folder);
  write_file(folder / "config.json", tiny_config_json(spec));
  write_file(folder / "tokenizer.json", tiny_tokenizer_json(spec));
  const std::vector<SafetensorsEntry> tensors = tiny_safetensors(spec);
  if (!spec.sharded) {
    write_file(folder / "model.safetensors", safetensors_file(tensors));
    return;
  }
  const auto middle = tensors.begin() + static_cast<ptrdiff_t>(tensors.size() / 2);
  const std::vector<SafetensorsEntry> shards[] = {{tensors.begin(), middle},
                                                  {middle, tensors.end()}};
  json map;
  for (int i = 0; i < 2; ++i) {
    const std::string name = "model-0000" + std::to_string(i + 1) + "-of-00002.safetensors";
    write_file(folder / name, safetensors_file(shards[i]));
    for (const SafetensorsEntry& tensor : shards[i]) map[tensor.name] = name;
  }
  write_file(folder / "model.safetensors.index.json",
             json{{"metadata", json::object()}, {"weight_map", map}}.dump());
}

GgufWriter tiny_gguf_metadata(const TinyModelSpec& spec) {
  const TinyVocabulary vocabulary = tiny_vocabulary(spec.vocab);
  std::vector<int32_t> types(vocabulary.tokens.size(), 1);
  types[0] = types[1] = 3;
  std::vector<std::string> merges;
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  GgufWriter out;
  const std::string prefix = gguf_architecture(spec) + ".";
  out.string("general.architecture", gguf_architecture(spec))
      .u32(prefix + "block_count", static_cast<uint32_t>(spec.layers))
      .u32(prefix + "context_length", static_cast<uint32_t>(spec.max_positions))
      .u32(prefix + "embedding_length", static_cast<uint32_t>(spec.hidden))
      .u32(prefix + "feed_forward_length", static_cast<uint32_t>(spec.ffn))
      .u32(prefix + "attention.head_count", static_cast<uint32_t>(spec.heads))
      .u32(prefix + "attention.head_count_kv", static_cast<uint32_t>(spec.kv_heads))
      .u32(prefix + "attention.key_length", static_cast<uint32_t>(spec.head_dim))
      .u32(prefix + "attention.value_length", static_cast<uint32_t>(spec.head_dim))
      .f32(prefix + "rope.freq_base", 10000.0f)
      .f32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f)
      .string("tokenizer.ggml.model", "gpt2")
      .string("tokenizer.ggml.pre", "smollm")
      .strings("tokenizer.ggml.tokens", vocabulary.tokens)
      .i32s("tokenizer.ggml.token_type", types)
      .strings("tokenizer.ggml.merges", merges)
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 0)
      .boolean("tokenizer.ggml.add_bos_token", false);
  if (spec.rope_scaling.rule == num::RopeScaling::Rule::kLinear) {
    out.string(prefix + "rope.scaling.type", "linear")
        .f32(prefix + "rope.scaling.factor", static_cast<float>(spec.rope_scaling.factor));
  }
  return out;
}

void add_tiny_gguf_tensors(GgufWriter& writer, const TinyModelSpec& spec, DType matrices) {
  const std::vector<TinyTensor> tensors = tiny_tensors(spec);
  for (size_t index = 0; index < tensors.size(); ++index) {
    const TinyTensor& tensor = tensors[index];
    const std::vector<float> weights = tiny_weights(spec, index);
    const bool is_q_or_k = tensor.name.find("q_proj") != std::string::npos ||
                           tensor.name.find("k_proj") != std::string::npos;
    const bool permuted = is_q_or_k && gguf_architecture(spec) == "llama";
    const int64_t d = spec.head_dim;
    const bool is_vector = tensor.rows == 1 || tensor.cols == 1;
    const DType dtype = is_vector ? DType::kF32 : matrices;
    std::string bytes;
    for (int64_t row = 0; row < tensor.rows; ++row) {
      // Stored row 2i + s of a head is row i + s d/2 of the rotate-half order.
      const int64_t in_head = row % d;
      const int64_t from = permuted ? row - in_head + in_head / 2 + in_head % 2 * (d / 2) : row;
      bytes += encode_row(weights.data() + from * tensor.cols, tensor.cols, dtype);
    }
    std::vector<uint64_t> dims = {static_cast<uint64_t>(tensor.cols),
                                  static_cast<uint64_t>(tensor.rows)};
    if (is_vector) dims = {static_cast<uint64_t>(tensor.rows * tensor.cols)};
    writer.tensor(gguf_name(tensor.name), dims, gguf_type(dtype), bytes);
  }
}

void write_tiny_gguf(const std::filesystem::path& path, const TinyModelSpec& spec, DType matrices) {
  GgufWriter writer = tiny_gguf_metadata(spec);
  add_tiny_gguf_tensors(writer, spec, matrices);
  write_file(path, writer.file());
}

}  // namespace kvx::test
