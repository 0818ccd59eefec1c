// What a model's files are used for, on the smallest scale.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "sim/model/tokenizer.h"

namespace kvx::fuzz {

// Opens the checkpoint and reads rows of its first and largest matrices.
inline void use_checkpoint(const std::string& path) {
  const auto checkpoint = model::Checkpoint::open(path);
  const model::ModelConfig& c = checkpoint->config();
  const auto read = [&](const std::string& name, int64_t rows, int64_t cols) {
    const model::TensorRef tensor = checkpoint->tensor(name, rows, cols);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t i = 0; i < std::min<int64_t>(rows, 64); ++i) model::read_row(tensor, i, row);
    model::read_row(tensor, rows - 1, row);
  };
  read("model.embed_tokens.weight", c.vocab, c.hidden);
  read("model.layers.0.self_attn.q_proj.weight", c.heads * c.head_dim, c.hidden);
  read("model.layers.0.self_attn.k_proj.weight", c.kv_heads * c.head_dim, c.hidden);
  read("model.layers.0.mlp.down_proj.weight", c.hidden, c.ffn);
  checkpoint->rope_divisors();
  checkpoint->sha256();
}

inline void use_tokenizer(const model::Tokenizer& tokenizer) {
  for (const char* text :
       {"", "the 12 rains\n  <|im_start|>user", "\xC3\xA9\xF0\x9F\x99\x82 \t\r\n"}) {
    for (const bool special : {false, true})
      tokenizer.decode(tokenizer.encode(text, true, special));
  }
}

}  // namespace kvx::fuzz
