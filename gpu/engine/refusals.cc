#include "gpu/engine/refusals.h"

#include <bit>
#include <string>

#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

const char* input_name(InputType input) {
  return input == InputType::kF16 ? "f16" : input == InputType::kBf16 ? "bf16" : "f32";
}

}  // namespace

void check_positions(const model::ModelConfig& config, int64_t first, int64_t count) {
  if (first + count > config.max_positions)
    throw environment_error("position " + std::to_string(first + count - 1) +
                            " is beyond the model's " + std::to_string(config.max_positions) +
                            " positions");
  model::require_in_window(config, first + count);
}

void check_tokens(const model::ModelConfig& config, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= config.vocab)
      throw environment_error("token id " + std::to_string(token) +
                              " is outside the model's vocabulary of " +
                              std::to_string(config.vocab));
  }
}

void refuse_value(const NonFiniteValue& at) {
  throw environment_error("layer " + std::to_string(at.layer) + ", " + side_name(at.side) +
                          ", head " + std::to_string(at.head) + ", token " +
                          std::to_string(at.token) + ", channel " + std::to_string(at.channel) +
                          ": " + std::to_string(at.value) + " is not finite in " +
                          input_name(at.input));
}

NonFiniteNote scale_note(Side side, const model::ModelConfig& config, int64_t rows) {
  const int64_t places = 2 * rows * config.kv_heads * config.head_dim;
  return static_cast<NonFiniteNote>(places + static_cast<int64_t>(side)) << 32;
}

void refuse_scale(int layer, NonFiniteNote note, const model::ModelConfig& config, int64_t rows) {
  for (const Side side : {Side::kK, Side::kV}) {
    if (note != scale_note(side, config, rows)) continue;
    throw environment_error("layer " + std::to_string(layer) + ", " + side_name(side) +
                            ": the scale of a group is not finite, and arithmetic fixed cannot "
                            "read it");
  }
}

NonFiniteValue value_of(NonFiniteNote note, const model::ModelConfig& config, int64_t rows) {
  const int64_t dim = config.head_dim, width = config.kv_heads * dim;
  const auto place = static_cast<int64_t>(note >> 32);
  return {.side = place < rows * width ? Side::kK : Side::kV,
          .head = place % width / dim,
          .token = place / width % rows,
          .channel = place % dim,
          .value = std::bit_cast<float>(static_cast<uint32_t>(note))};
}

}  // namespace kvx::gpu
