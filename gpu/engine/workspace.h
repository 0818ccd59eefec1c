// The memory of an engine beside weights and caches: activations of a pass, and two slots of logits
// so that one is copied and consumed while the next is computed.
#pragma once

#include <cstdint>
#include <span>

#include "gpu/common/memory.h"
#include "gpu/common/stream.h"
#include "gpu/engine/elementwise.h"
#include "sim/model/config.h"

namespace kvx::gpu {

// Activations of up to `rows` tokens; contents do not outlive a pass.
class PassBuffers {
 public:
  // `unrotated_keys`: keys before rotation have a place too.
  static int64_t bytes(const model::ModelConfig& config, int64_t rows, bool unrotated_keys);

  PassBuffers(const model::ModelConfig& config, int64_t rows, bool unrotated_keys);
  // Room for a pass of that many rows. Returns whether memory moved.
  bool reserve(int64_t rows);

  int64_t rows() const { return rows_; }

  void upload_tokens(std::span<const int32_t> tokens, cudaStream_t stream);
  // Rows whose logits are asked for, at most as many as the pass has.
  void upload_wanted(std::span<const int64_t> rows, cudaStream_t stream);

  int32_t* tokens() const { return tokens_.get(); }
  const int32_t* wanted() const { return wanted_.get(); }
  float2* rotary() const { return rotary_.get(); }
  float* x() const { return x_.get(); }            // [rows][hidden]: the residual stream
  float* normed() const { return normed_.get(); }  // the same shape
  float* q() const { return wide_.get(); }         // [rows][heads][head dim]
  float* k() const { return q() + rows_ * q_width(); }
  float* v() const { return k() + rows_ * kv_width(); }
  float* k_pre() const { return k_pre_.get(); }  // as k, before rotation; nullptr: has no place
  float* qkv() const { return v() + rows_ * kv_width(); }  // [rows][heads + 2 kv heads][head dim]
  float* attended() const { return qkv(); }                // as q; after qkv was split
  float* gate_up() const { return wide_.get(); }           // [rows][2 ffn]; after attention

 private:
  int64_t q_width() const { return config_.heads * config_.head_dim; }
  int64_t kv_width() const { return config_.kv_heads * config_.head_dim; }

  model::ModelConfig config_;
  bool unrotated_keys_;
  int64_t rows_ = 0;
  DeviceArray<int32_t> tokens_, wanted_;
  DeviceArray<float2> rotary_;
  DeviceArray<float> x_, normed_, wide_, k_pre_;
};

// Rows of logits on their way to the host.
class LogitSlots {
 public:
  static constexpr int kSlots = 2;
  // Rows at a time: what fits in 64 MiB, between 16 and 1024; at least a step of `sequences`, at
  // most what a pass has.
  static int64_t rows_at_once(const model::ModelConfig& config, int64_t pass_rows,
                              int64_t sequences);
  static int64_t bytes(const model::ModelConfig& config, int64_t rows);

  LogitSlots(const model::ModelConfig& config, int64_t rows);

  int64_t rows() const { return rows_; }
  float* hidden(int slot) const { return hidden_.get() + slot * rows_ * width_; }
  float* logits(int slot) const { return logits_.get() + slot * rows_ * vocab_; }
  const float* host_hidden(int slot) const { return host_hidden_.get() + slot * rows_ * width_; }
  const float* host_logits(int slot) const { return host_logits_.get() + slot * rows_ * vocab_; }

  // Copies the first `count` rows of a slot to the host, after what was enqueued on `stream`.
  void copy(int slot, int64_t count, cudaStream_t stream);
  void wait(int slot) const { copied_[slot].wait(); }
  cudaStream_t copy_stream() const { return copies_; }

 private:
  int64_t rows_, width_, vocab_;
  DeviceArray<float> hidden_, logits_;            // [slot][rows][hidden], [slot][rows][vocab]
  PinnedArray<float> host_hidden_, host_logits_;  // the same
  Stream copies_;
  Event computed_[kSlots], copied_[kSlots];
};

}  // namespace kvx::gpu
