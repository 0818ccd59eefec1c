// The weights of a decoder in memory, packed for the matrix product. Private to the engine.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/model/engine.h"
#include "sim/num/gemm.h"

namespace kvx::model {

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  num::PackedWeights q, k, v, o;      // [heads*d][hidden], [kv*d][hidden] twice, [hidden][heads*d]
  std::vector<float> q_bias, k_bias, v_bias, o_bias;  // one a row; empty where there is none
  std::vector<float> q_norm, k_norm;                  // [d]; empty where there is none
  std::vector<float> ffn_norm;                        // [hidden]
  num::PackedWeights gate, up, down;                  // [ffn][hidden] twice, [hidden][ffn]
};

struct Model::Impl {
  ModelConfig config;
  num::PackedWeights embedding;  // [vocab][hidden]
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;     // [hidden]
  num::PackedWeights untied_head;    // [vocab][hidden]; empty where tied
  std::vector<uint64_t> rope_steps;  // [head_dim / 2]

  const num::PackedWeights& head() const { return config.tied ? embedding : untied_head; }
};

}  // namespace kvx::model
