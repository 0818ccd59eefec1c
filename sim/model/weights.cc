#include "sim/model/weights.h"

#include <exception>
#include <span>
#include <string>

#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::model {
namespace {

bool is_finite(float x) { return x - x == 0.0f; }

[[noreturn]] void refuse_weight(const Checkpoint& checkpoint, const TensorRef& tensor, int64_t row,
                                int64_t column, float value) {
  throw environment_error(checkpoint.path() + ": tensor '" + tensor.name + "' holds " +
                          (value != value ? "NaN"
                           : value > 0    ? "+inf"
                                          : "-inf") +
                          " at [" + std::to_string(row) + "][" + std::to_string(column) + "]");
}

void check_row(const Checkpoint& checkpoint, const TensorRef& tensor, int64_t row,
               std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!is_finite(values[i]))
      refuse_weight(checkpoint, tensor, row, static_cast<int64_t>(i), values[i]);
  }
}

std::vector<float> load_vector(const Checkpoint& checkpoint, const std::string& name,
                               int64_t size) {
  const TensorRef tensor = checkpoint.tensor(name, 1, size);
  std::vector<float> values(static_cast<size_t>(size));
  read_row(tensor, 0, values);
  check_row(checkpoint, tensor, 0, values);
  return values;
}

std::vector<float> load_bias(const Checkpoint& checkpoint, const std::string& name, int64_t size) {
  const TensorRef tensor = checkpoint.tensor(name, size, 1);
  std::vector<float> values(static_cast<size_t>(size));
  for (int64_t row = 0; row < size; ++row) {
    const std::span<float> value(values.data() + row, 1);
    read_row(tensor, row, value);
    check_row(checkpoint, tensor, row, value);
  }
  return values;
}

// 16-bit formats stay as they are; block formats become binary32.
num::PackedWeights load_matrix(const Checkpoint& checkpoint, const std::string& name, int64_t rows,
                               int64_t columns) {
  const TensorRef tensor = checkpoint.tensor(name, rows, columns);
  const num::WeightType type = tensor.dtype == DType::kF16    ? num::WeightType::kF16
                               : tensor.dtype == DType::kBf16 ? num::WeightType::kBf16
                                                              : num::WeightType::kF32;
  num::PackedWeights packed(rows, columns, type);
  std::exception_ptr
      failure;  // of the lowest panel that failed, so that the message does not depend on threads
  int64_t failed_panel = packed.panels();
#pragma omp parallel
  {
    std::vector<float> wide(static_cast<size_t>(num::kPanel * columns));
    std::vector<uint16_t> bits(type == num::WeightType::kF32 ? 0 : wide.size());
#pragma omp for schedule(dynamic)
    for (int64_t p = 0; p < packed.panels(); ++p) {
      try {
        for (int64_t r = 0; r < num::kPanel && p * num::kPanel + r < rows; ++r) {
          const int64_t row = p * num::kPanel + r;
          const std::span<float> values(wide.data() + r * columns, static_cast<size_t>(columns));
          read_row(tensor, row, values);
          check_row(checkpoint, tensor, row, values);
          if (type != num::WeightType::kF32)
            read_row_bits(tensor, row, {bits.data() + r * columns, static_cast<size_t>(columns)});
        }
        if (type == num::WeightType::kF32) {
          packed.set_panel(p, wide.data());
        } else {
          packed.set_panel(p, bits.data());
        }
      } catch (...) {
#pragma omp critical(kvx_load_matrix)
        if (p < failed_panel) {
          failed_panel = p;
          failure = std::current_exception();
        }
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
  return packed;
}

}  // namespace

Model::Model(const Checkpoint& checkpoint) : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.config = checkpoint.config();
  const ModelConfig& c = m.config;
  const int64_t q_rows = c.heads * c.head_dim;
  const int64_t kv_rows = c.kv_heads * c.head_dim;
  m.embedding = load_matrix(checkpoint, "model.embed_tokens.weight", c.vocab, c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string attention = layer + "self_attn.";
    const std::string mlp = layer + "mlp.";
    LayerWeights w;
    w.attention_norm = load_vector(checkpoint, layer + "input_layernorm.weight", c.hidden);
    w.q = load_matrix(checkpoint, attention + "q_proj.weight", q_rows, c.hidden);
    w.k = load_matrix(checkpoint, attention + "k_proj.weight", kv_rows, c.hidden);
    w.v = load_matrix(checkpoint, attention + "v_proj.weight", kv_rows, c.hidden);
    w.o = load_matrix(checkpoint, attention + "o_proj.weight", c.hidden, q_rows);
    if (c.qkv_bias) {
      w.q_bias = load_bias(checkpoint, attention + "q_proj.bias", q_rows);
      w.k_bias = load_bias(checkpoint, attention + "k_proj.bias", kv_rows);
      w.v_bias = load_bias(checkpoint, attention + "v_proj.bias", kv_rows);
    }
    if (c.output_bias) w.o_bias = load_bias(checkpoint, attention + "o_proj.bias", c.hidden);
    if (c.qk_norm) {
      w.q_norm = load_vector(checkpoint, attention + "q_norm.weight", c.head_dim);
      w.k_norm = load_vector(checkpoint, attention + "k_norm.weight", c.head_dim);
    }
    w.ffn_norm = load_vector(checkpoint, layer + "post_attention_layernorm.weight", c.hidden);
    w.gate = load_matrix(checkpoint, mlp + "gate_proj.weight", c.ffn, c.hidden);
    w.up = load_matrix(checkpoint, mlp + "up_proj.weight", c.ffn, c.hidden);
    w.down = load_matrix(checkpoint, mlp + "down_proj.weight", c.hidden, c.ffn);
    m.layers.push_back(std::move(w));
  }
  m.final_norm = load_vector(checkpoint, "model.norm.weight", c.hidden);
  if (!c.tied) m.untied_head = load_matrix(checkpoint, "lm_head.weight", c.vocab, c.hidden);
  m.rope_steps = model::rope_steps(checkpoint);
}

Model::~Model() = default;

const ModelConfig& Model::config() const { return impl_->config; }

std::span<const uint64_t> Model::rope_steps() const { return impl_->rope_steps; }

}  // namespace kvx::model
