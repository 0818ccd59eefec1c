// What the CUDA side refuses, in the words of the CPU engine.
#pragma once

#include <cstdint>
#include <span>

#include "gpu/engine/elementwise.h"
#include "sim/api/cache.h"
#include "sim/model/config.h"

namespace kvx::gpu {

// Throw environment Errors: for positions first .. first + count - 1 beyond the model's or its
// sliding window, and for an id that the vocabulary has not.
void check_positions(const model::ModelConfig& config, int64_t first, int64_t count);
void check_tokens(const model::ModelConfig& config, std::span<const int32_t> tokens);

struct NonFiniteValue {
  int layer = 0;
  Side side = Side::kK;
  int64_t head = 0, token = 0, channel = 0;
  float value = 0;
  InputType input = InputType::kF32;
};
[[noreturn]] void refuse_value(const NonFiniteValue& at);

// What a note of a pass of `rows` rows says; `token` is the row.
NonFiniteValue value_of(NonFiniteNote note, const model::ModelConfig& config, int64_t rows);

// The note of a scale that the arithmetic `fixed` cannot read; it comes after those of values.
NonFiniteNote scale_note(Side side, const model::ModelConfig& config, int64_t rows);
// Throws an environment Error for such a note, and returns for others.
void refuse_scale(int layer, NonFiniteNote note, const model::ModelConfig& config, int64_t rows);

}  // namespace kvx::gpu
