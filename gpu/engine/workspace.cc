#include "gpu/engine/workspace.h"

#include <algorithm>
#include <vector>

namespace kvx::gpu {
namespace {

int64_t wide_floats(const model::ModelConfig& c) {
  return std::max(2 * (c.heads + 2 * c.kv_heads) * c.head_dim, 2 * c.ffn);
}

}  // namespace

int64_t PassBuffers::bytes(const model::ModelConfig& c, int64_t rows, bool unrotated_keys) {
  const int64_t floats =
      2 * c.hidden + wide_floats(c) + c.head_dim + (unrotated_keys ? c.kv_heads * c.head_dim : 0);
  return rows * (floats * int64_t{sizeof(float)} + 2 * int64_t{sizeof(int32_t)});
}

PassBuffers::PassBuffers(const model::ModelConfig& config, int64_t rows, bool unrotated_keys)
    : config_(config), unrotated_keys_(unrotated_keys) {
  reserve(rows);
}

bool PassBuffers::reserve(int64_t rows) {
  if (rows <= rows_) return false;
  rows_ = rows;
  tokens_.reserve(rows);
  wanted_.reserve(rows);
  rotary_.reserve(rows * (config_.head_dim / 2));
  x_.reserve(rows * config_.hidden);
  normed_.reserve(rows * config_.hidden);
  wide_.reserve(rows * wide_floats(config_));
  if (unrotated_keys_) k_pre_.reserve(rows * kv_width());
  return true;
}

void PassBuffers::upload_tokens(std::span<const int32_t> tokens, cudaStream_t stream) {
  tokens_.upload(tokens, 0, stream);
}

void PassBuffers::upload_wanted(std::span<const int64_t> rows, cudaStream_t stream) {
  const std::vector<int32_t> narrow(rows.begin(), rows.end());
  wanted_.reserve(static_cast<int64_t>(narrow.size()));
  wanted_.upload(narrow, 0, stream);
}

int64_t LogitSlots::rows_at_once(const model::ModelConfig& config, int64_t pass_rows,
                                 int64_t sequences) {
  constexpr int64_t kFloats = int64_t{64} << 18;
  const int64_t rows = std::clamp<int64_t>(kFloats / config.vocab / 16 * 16, 16, 1024);
  return std::min(pass_rows, std::max(rows, sequences));
}

int64_t LogitSlots::bytes(const model::ModelConfig& config, int64_t rows) {
  return kSlots * rows * (config.hidden + config.vocab) * int64_t{sizeof(float)};
}

LogitSlots::LogitSlots(const model::ModelConfig& config, int64_t rows)
    : rows_(rows),
      width_(config.hidden),
      vocab_(config.vocab),
      hidden_(kSlots * rows * config.hidden),
      logits_(kSlots * rows * config.vocab),
      host_hidden_(kSlots * rows * config.hidden),
      host_logits_(kSlots * rows * config.vocab) {}

void LogitSlots::copy(int slot, int64_t count, cudaStream_t stream) {
  computed_[slot].record(stream);
  computed_[slot].before(copies_);
  const auto to_host = [&](float* host, const float* device, int64_t width) {
    check(cudaMemcpyAsync(host, device, static_cast<size_t>(count * width) * sizeof(float),
                          cudaMemcpyDeviceToHost, copies_),
          "logits to the host");
  };
  to_host(host_hidden_.get() + slot * rows_ * width_, hidden(slot), width_);
  to_host(host_logits_.get() + slot * rows_ * vocab_, logits(slot), vocab_);
  copied_[slot].record(copies_);
}

}  // namespace kvx::gpu
