// What a decoder-only transformer's files say about its shape.
#pragma once

#include <cstdint>
#include <string>

#include "sim/num/rope.h"

namespace kvx::model {

struct ModelConfig {
  std::string architecture;  // Hugging Face's name: "LlamaForCausalLM"
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn = 0;  // intermediate size
  int64_t vocab = 0;
  int64_t max_positions = 0;
  float rms_eps = 0;
  double rope_theta = 0;
  num::RopeScaling rope_scaling;
  bool tied = false;           // output matrix is the embedding
  bool qkv_bias = false;       // biases of the q, k and v projections
  bool output_bias = false;    // bias of the projection after attention
  bool qk_norm = false;        // RMSNorm of each head of q and k, before rotation
  int64_t sliding_window = 0;  // a query reads the last so many positions, its own included; 0: all
};

// Throws an environment Error naming the window unless attention over `length` positions is the
// same with the model's sliding window as without: the engine has full attention only.
void require_in_window(const ModelConfig& config, int64_t length);

}  // namespace kvx::model
