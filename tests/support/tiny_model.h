// A small seeded checkpoint of any architecture, written as a Hugging Face folder or as GGUF, so
// that tests need no data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "tests/support/gguf_blocks.h"
#include "tests/support/model_writer.h"
#include "tests/support/temp_dir.h"

namespace kvx::test {

struct TinyModelSpec {
  int64_t hidden = 64;
  int64_t layers = 2;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  int64_t ffn = 96;
  int64_t vocab = 320;  // 258 to 960: two special tokens, 256 bytes, merges
  int64_t max_positions = 512;
  uint64_t seed = 1;
  model::DType dtype = model::DType::kF32;  // F32, F16 or BF16: every weight is rounded to it
  bool tied = false;
  bool sharded = false;
  std::string architecture = "LlamaForCausalLM";  // or Mistral, Qwen2, Qwen3
  bool attention_bias = false;                    // Llama and Qwen3: biases of q, k, v and output
  num::RopeScaling rope_scaling;                  // GGUF can say linear only

  bool has_qkv_bias() const { return attention_bias || architecture == "Qwen2ForCausalLM"; }
  bool has_qk_norm() const { return architecture == "Qwen3ForCausalLM"; }
};

// One layer, F16: for tests that read every byte of it.
TinyModelSpec smallest_tiny_model();

// Two layers and grouped heads: for tests that compute with it.
TinyModelSpec small_tiny_model();

struct TinyTensor {
  std::string name;  // Hugging Face's
  int64_t rows;
  int64_t cols;
};

// All tensors of the checkpoint; norms have one row, biases one column.
std::vector<TinyTensor> tiny_tensors(const TinyModelSpec& spec);

// Row-major weights of tensor `index` of tiny_tensors: a hash of (seed, index, element), about
// normal; the standard deviation of a matrix is about 1/sqrt(cols), of a bias 0.3; norms are near
// 1.
std::vector<float> tiny_weights(const TinyModelSpec& spec, size_t index);

// config.json, model.safetensors (or two shards and their index), tokenizer.json (byte-level BPE).
void write_tiny_model(const std::filesystem::path& folder, const TinyModelSpec& spec);

// The same weights as GGUF with tokenizer metadata: norms and biases in F32, matrices in
// `matrices`, q and k interleaved where the architecture does so. Quantised matrices need rows of
// whole blocks.
void write_tiny_gguf(const std::filesystem::path& path, const TinyModelSpec& spec,
                     model::DType matrices);

// The pieces, for tests that break one of them.
std::string tiny_config_json(const TinyModelSpec& spec);
std::vector<SafetensorsEntry> tiny_safetensors(const TinyModelSpec& spec);
std::string tiny_tokenizer_json(const TinyModelSpec& spec);
GgufWriter tiny_gguf_metadata(const TinyModelSpec& spec);
void add_tiny_gguf_tensors(GgufWriter& writer, const TinyModelSpec& spec, model::DType matrices);

}  // namespace kvx::test
