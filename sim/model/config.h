// What a decoder-only transformer's files say about its shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvx::model {

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
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
  bool tied = false;  // output matrix is the embedding
};

}  // namespace kvx::model
