#include "gpu/engine/device_model.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

using model::Checkpoint;
using model::DType;
using model::TensorRef;

struct NotFinite {
  int64_t row = 0;
  int64_t column = 0;
  const char* value = "";
};

[[noreturn]] void refuse_weight(const Checkpoint& checkpoint, const TensorRef& tensor,
                                const NotFinite& at) {
  throw environment_error(checkpoint.path() + ": tensor '" + tensor.name + "' holds " + at.value +
                          " at [" + std::to_string(at.row) + "][" + std::to_string(at.column) +
                          "]");
}

WeightType stored_type(DType dtype) {
  if (dtype == DType::kF16) return WeightType::kF16;
  if (dtype == DType::kBf16) return WeightType::kBf16;
  return WeightType::kF32;  // blocks are decoded
}

// The first value of a row that is not finite; of a 16-bit type by its exponent's bits.
std::optional<NotFinite> find_not_finite(std::span<const uint16_t> values, int64_t row,
                                         uint16_t exponent) {
  for (size_t i = 0; i < values.size(); ++i) {
    if ((values[i] & exponent) != exponent) continue;
    const bool infinite = (values[i] & 0x7FFF) == exponent;
    const char* name = !infinite ? "NaN" : (values[i] & 0x8000) != 0 ? "-inf" : "+inf";
    return NotFinite{row, static_cast<int64_t>(i), name};
  }
  return std::nullopt;
}
std::optional<NotFinite> find_not_finite(std::span<const float> values, int64_t row) {
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = values[i];
    if (x - x == 0.0f) continue;
    return NotFinite{row, static_cast<int64_t>(i), x != x ? "NaN" : x < 0 ? "-inf" : "+inf"};
  }
  return std::nullopt;
}

// One row in its stored type, to `out`.
std::optional<NotFinite> load_row(const TensorRef& tensor, int64_t row, std::byte* out) {
  const size_t columns = static_cast<size_t>(tensor.cols);
  if (stored_type(tensor.dtype) == WeightType::kF32) {
    const std::span<float> to(reinterpret_cast<float*>(out), columns);
    model::read_row(tensor, row, to);
    return find_not_finite(to, row);
  }
  const std::span<uint16_t> to(reinterpret_cast<uint16_t*>(out), columns);
  model::read_row_bits(tensor, row, to);
  return find_not_finite(to, row, tensor.dtype == DType::kF16 ? 0x7C00 : 0x7F80);
}

// Rows [first, first + count) to `out`, on as many threads as the machine has; throws for the
// first value that is not finite.
void load_rows(const Checkpoint& checkpoint, const TensorRef& tensor, int64_t first, int64_t count,
               std::byte* out) {
  const int64_t row_bytes = tensor.cols * element_bytes(stored_type(tensor.dtype));
  constexpr int64_t kWorthAThread = int64_t{1} << 20;  // bytes
  const int64_t threads = std::clamp<int64_t>(count * row_bytes / kWorthAThread, 1,
                                              std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::optional<NotFinite>> found(static_cast<size_t>(threads));
  const auto load = [&](int64_t t) {
    for (int64_t i = count * t / threads; i < count * (t + 1) / threads; ++i) {
      found[static_cast<size_t>(t)] = load_row(tensor, first + i, out + i * row_bytes);
      if (found[static_cast<size_t>(t)]) return;
    }
  };
  {
    std::vector<std::jthread> team;
    for (int64_t t = 1; t < threads; ++t) team.emplace_back(load, t);
    load(0);
  }
  for (const std::optional<NotFinite>& at : found)
    if (at) refuse_weight(checkpoint, tensor, *at);
}

DeviceArray<float> load_values(const Checkpoint& checkpoint,
                               const std::vector<TensorRef>& tensors) {
  std::vector<float> values;
  for (const TensorRef& tensor : tensors) {
    for (int64_t row = 0; row < tensor.rows; ++row) {
      const size_t at = values.size();
      values.resize(at + static_cast<size_t>(tensor.cols));
      const std::span<float> to = std::span(values).subspan(at);
      model::read_row(tensor, row, to);
      if (const auto found = find_not_finite(to, row)) refuse_weight(checkpoint, tensor, *found);
    }
  }
  DeviceArray<float> result(static_cast<int64_t>(values.size()));
  result.upload(values);
  check(cudaStreamSynchronize(nullptr), "weights");
  return result;
}

struct MatrixName {
  std::string name;
  int64_t rows;
};

Projection load_projection(const Checkpoint& checkpoint, const std::vector<MatrixName>& names,
                           int64_t columns) {
  Projection result;
  result.inputs = columns;
  std::vector<TensorRef> tensors;
  for (const MatrixName& name : names) {
    tensors.push_back(checkpoint.tensor(name.name, name.rows, columns));
    result.outputs += name.rows;
  }
  constexpr int64_t kStaged = int64_t{64} << 20;  // bytes
  std::vector<std::byte> staged;
  int64_t column = 0;
  for (auto run = tensors.begin(); run != tensors.end();) {
    const WeightType type = stored_type(run->dtype);
    const auto end = std::find_if(run, tensors.end(),
                                  [&](const TensorRef& t) { return stored_type(t.dtype) != type; });
    int64_t rows = 0;
    for (auto tensor = run; tensor != end; ++tensor) rows += tensor->rows;
    Projection::Part part{DeviceWeights(rows, columns, type), column};
    const int64_t row_bytes = columns * element_bytes(type);
    const int64_t at_once = std::max<int64_t>(kStaged / row_bytes, 1);
    for (int64_t row = 0; run != end; row += run->rows, ++run) {
      for (int64_t first = 0; first < run->rows; first += at_once) {
        const int64_t count = std::min(at_once, run->rows - first);
        staged.resize(static_cast<size_t>(count * row_bytes));
        load_rows(checkpoint, *run, first, count, staged.data());
        part.weights.set_rows(row + first, count, staged.data());
      }
    }
    result.parts.push_back(std::move(part));
    column += rows;
  }
  return result;
}

DeviceLayer load_layer(const Checkpoint& checkpoint, int64_t index) {
  const model::ModelConfig& c = checkpoint.config();
  const int64_t q_rows = c.heads * c.head_dim, kv_rows = c.kv_heads * c.head_dim;
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const std::string attention = layer + "self_attn.", mlp = layer + "mlp.";
  const auto norm = [&](const std::string& name, int64_t size) {
    return load_values(checkpoint, {checkpoint.tensor(name, 1, size)});
  };
  const auto bias = [&](const std::string& name, int64_t size) {
    return checkpoint.tensor(attention + name, size, 1);
  };
  DeviceLayer w;
  w.attention_norm = norm(layer + "input_layernorm.weight", c.hidden);
  w.qkv = load_projection(checkpoint,
                          {{attention + "q_proj.weight", q_rows},
                           {attention + "k_proj.weight", kv_rows},
                           {attention + "v_proj.weight", kv_rows}},
                          c.hidden);
  w.o = load_projection(checkpoint, {{attention + "o_proj.weight", c.hidden}}, q_rows);
  if (c.qkv_bias) {
    w.qkv.bias = load_values(checkpoint, {bias("q_proj.bias", q_rows), bias("k_proj.bias", kv_rows),
                                          bias("v_proj.bias", kv_rows)});
  }
  if (c.output_bias) w.o.bias = load_values(checkpoint, {bias("o_proj.bias", c.hidden)});
  if (c.qk_norm) {
    w.q_norm = norm(attention + "q_norm.weight", c.head_dim);
    w.k_norm = norm(attention + "k_norm.weight", c.head_dim);
  }
  w.ffn_norm = norm(layer + "post_attention_layernorm.weight", c.hidden);
  w.gate_up = load_projection(
      checkpoint, {{mlp + "gate_proj.weight", c.ffn}, {mlp + "up_proj.weight", c.ffn}}, c.hidden);
  w.down = load_projection(checkpoint, {{mlp + "down_proj.weight", c.hidden}}, c.ffn);
  return w;
}

}  // namespace

int64_t Projection::bytes() const {
  int64_t total = 0;
  for (const Part& part : parts) total += part.weights.bytes();
  return total;
}

DeviceModel::DeviceModel(const Checkpoint& checkpoint) : config_(checkpoint.config()) {
  const model::ModelConfig& c = config_;
  if (c.head_dim % 8 != 0 || c.head_dim > 256)
    throw environment_error(checkpoint.path() + ": head dim " + std::to_string(c.head_dim) +
                            ": the CUDA engine has multiples of 8 up to 256");
  if (c.hidden % 4 != 0 || c.ffn % 4 != 0)
    throw environment_error(checkpoint.path() + ": widths " + std::to_string(c.hidden) + " and " +
                            std::to_string(c.ffn) + ": the CUDA engine has multiples of 4");
  embedding_ = load_projection(checkpoint, {{"model.embed_tokens.weight", c.vocab}}, c.hidden);
  for (int64_t layer = 0; layer < c.layers; ++layer)
    layers_.push_back(load_layer(checkpoint, layer));
  final_norm_ = load_values(checkpoint, {checkpoint.tensor("model.norm.weight", 1, c.hidden)});
  if (!c.tied) untied_head_ = load_projection(checkpoint, {{"lm_head.weight", c.vocab}}, c.hidden);
  host_rope_steps_ = model::rope_steps(checkpoint);
  rope_steps_ = DeviceArray<uint64_t>(std::ssize(host_rope_steps_));
  rope_steps_.upload(host_rope_steps_);
  check(cudaStreamSynchronize(nullptr), "weights");
}

int64_t DeviceModel::bytes_per_token() const {
  int64_t total = head().bytes();
  for (const DeviceLayer& layer : layers_)
    total += layer.qkv.bytes() + layer.o.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  return total;
}

std::shared_ptr<const DeviceModel> load_model(const model::Checkpoint& checkpoint) {
  if (const std::string reason = unavailable(); !reason.empty()) throw environment_error(reason);
  return std::make_shared<DeviceModel>(checkpoint);
}

}  // namespace kvx::gpu
