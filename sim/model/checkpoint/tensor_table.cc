#include "sim/model/checkpoint/tensor_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <utility>

#include "sim/model/checkpoint/blocks.h"
#include "sim/model/checkpoint/file.h"

namespace kvx::model {

void TensorTable::add(const std::string& name, StoredTensor tensor) {
  const auto [at, added] = tensors_.emplace(name, tensor);
  if (!added) {
    throw file_error(tensor.file,
                     fmt::format("tensor {} is there twice", printable(tensor.stored_name)));
  }
}

const StoredTensor* TensorTable::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

TensorRef TensorTable::get(const std::string& name, int64_t rows, int64_t cols) const {
  const StoredTensor* stored = find(name);
  if (stored == nullptr) throw file_error(source_, fmt::format("tensor '{}' is missing", name));
  const bool vector = rows == 1 || cols == 1;
  const bool same = stored->shape == std::vector<int64_t>{rows, cols} ||
                    (vector && stored->shape == std::vector<int64_t>{rows * cols});
  if (!same) {
    const std::string wanted =
        vector ? fmt::format("[{}]", rows * cols) : fmt::format("[{}, {}]", rows, cols);
    throw file_error(
        stored->file,
        fmt::format("tensor {} has shape [{}], the configuration asks for {}",
                    printable(stored->stored_name), fmt::join(stored->shape, ", "), wanted));
  }
  if (!stored->dtype) {
    throw file_error(stored->file, fmt::format("{} tensor {}: type not supported", stored->type,
                                               printable(stored->stored_name)));
  }
  if (cols % block_shape(*stored->dtype).values != 0) {
    throw file_error(stored->file, fmt::format("tensor {} is a bias of type {}: not supported",
                                               printable(stored->stored_name), stored->type));
  }
  return {name, *stored->dtype, rows, cols, stored->bytes, stored->rotate_half_heads};
}

void TensorTable::require_decoder(const ModelConfig& config) const {
  std::set<std::string> expected;
  const auto require = [&](const std::string& name, int64_t rows, int64_t cols) {
    get(name, rows, cols);
    expected.insert(name);
  };
  const int64_t q_rows = config.heads * config.head_dim;
  const int64_t kv_rows = config.kv_heads * config.head_dim;
  require("model.embed_tokens.weight", config.vocab, config.hidden);
  require("model.norm.weight", 1, config.hidden);
  if (!config.tied) require("lm_head.weight", config.vocab, config.hidden);
  // A layer count beyond what is stored ends at the first tensor that is missing.
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    require(prefix + "input_layernorm.weight", 1, config.hidden);
    require(prefix + "self_attn.q_proj.weight", q_rows, config.hidden);
    require(prefix + "self_attn.k_proj.weight", kv_rows, config.hidden);
    require(prefix + "self_attn.v_proj.weight", kv_rows, config.hidden);
    require(prefix + "self_attn.o_proj.weight", config.hidden, q_rows);
    if (config.qkv_bias) {
      require(prefix + "self_attn.q_proj.bias", q_rows, 1);
      require(prefix + "self_attn.k_proj.bias", kv_rows, 1);
      require(prefix + "self_attn.v_proj.bias", kv_rows, 1);
    }
    if (config.output_bias) require(prefix + "self_attn.o_proj.bias", config.hidden, 1);
    if (config.qk_norm) {
      require(prefix + "self_attn.q_norm.weight", 1, config.head_dim);
      require(prefix + "self_attn.k_norm.weight", 1, config.head_dim);
    }
    require(prefix + "post_attention_layernorm.weight", 1, config.hidden);
    require(prefix + "mlp.gate_proj.weight", config.ffn, config.hidden);
    require(prefix + "mlp.up_proj.weight", config.ffn, config.hidden);
    require(prefix + "mlp.down_proj.weight", config.hidden, config.ffn);
  }
  for (const auto& [name, stored] : tensors_) {
    const bool harmless = name.ends_with("rotary_emb.inv_freq") || name == "rope_freqs.weight" ||
                          (config.tied && name == "lm_head.weight");
    if (!harmless && !expected.contains(name)) {
      throw file_error(
          stored.file,
          fmt::format("tensor {} is not part of a {}-layer {}: not supported",
                      printable(stored.stored_name), config.layers, config.architecture));
    }
  }
}

}  // namespace kvx::model
