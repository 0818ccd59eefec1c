// Valid inputs from which a fuzzer starts.
#pragma once

#include "tests/support/tiny_model.h"

namespace kvx::fuzz {

inline test::TinyModelSpec smallest_model() {
  test::TinyModelSpec spec;
  spec.hidden = 32;
  spec.layers = 1;
  spec.heads = 2;
  spec.kv_heads = 1;
  spec.head_dim = 16;
  spec.ffn = 32;
  spec.vocab = 260;
  spec.dtype = model::DType::kF16;
  return spec;
}

}  // namespace kvx::fuzz
