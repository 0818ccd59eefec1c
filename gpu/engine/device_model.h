// A model's weights in device memory, as the products of the engine want them.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/common/memory.h"
#include "gpu/engine/matmul.h"
#include "gpu/registry.h"

namespace kvx::gpu {

// Matrices over the same input, their outputs side by side: one product, or, where the files store
// them in several types, one for each run of a type.
struct Projection {
  struct Part {
    DeviceWeights weights;
    int64_t column = 0;  // of its first output
  };
  std::vector<Part> parts;
  int64_t inputs = 0;
  int64_t outputs = 0;
  DeviceArray<float> bias;  // [outputs]; empty where there is none

  int64_t bytes() const;  // of the matrices
};

struct DeviceLayer {
  DeviceArray<float> attention_norm, ffn_norm;  // [hidden]
  DeviceArray<float> q_norm, k_norm;            // [head dim]; empty where there is none
  Projection qkv, o, gate_up, down;
};

class DeviceModel {
 public:
  // Throws an environment Error naming tensor, row and column for a weight that is not finite, and
  // where head dim or device memory do not allow it.
  explicit DeviceModel(const model::Checkpoint& checkpoint);

  const model::ModelConfig& config() const { return config_; }
  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const DeviceWeights& embedding() const { return embedding_.parts.front().weights; }
  const Projection& head() const { return config_.tied ? embedding_ : untied_head_; }
  const float* final_norm() const { return final_norm_.get(); }
  const uint64_t* rope_steps() const { return rope_steps_.get(); }  // [head dim / 2]
  const std::vector<uint64_t>& host_rope_steps() const { return host_rope_steps_; }
  // Bytes of the matrices that one token's pass reads.
  int64_t bytes_per_token() const;

 private:
  model::ModelConfig config_;
  std::vector<DeviceLayer> layers_;
  Projection embedding_, untied_head_;  // [vocab][hidden]
  DeviceArray<float> final_norm_;       // [hidden]
  std::vector<uint64_t> host_rope_steps_;
  DeviceArray<uint64_t> rope_steps_;
};

}  // namespace kvx::gpu
