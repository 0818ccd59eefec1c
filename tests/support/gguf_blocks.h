// Quantises rows as GGUF's types: plain rounding to the nearest code, for tests that need files.
#pragma once

#include <cstdint>
#include <string>

#include "sim/model/checkpoint.h"

namespace kvx::test {

// GGUF's number of the type.
uint32_t gguf_type(model::DType dtype);

// One row as stored: the values as F32, F16 or BF16, or blocks; `cols` is a multiple of the block.
// Q8_0, Q4_0 and Q4_1 by the formulas of llama.cpp.
std::string encode_row(const float* row, int64_t cols, model::DType dtype);

}  // namespace kvx::test
