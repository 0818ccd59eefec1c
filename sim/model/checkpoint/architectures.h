// The architectures that the engine computes, under the names that files give them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/api/error.h"

namespace kvx::model {

// What decides whether config.json's sliding_window counts.
enum class WindowRule : uint8_t { kNone, kAlways, kSwitched };  // nothing; it alone; a switch too

struct Architecture {
  const char* name;       // Hugging Face's, of `architectures` in config.json
  const char* gguf_name;  // of general.architecture
  bool qkv_bias;          // q, k and v always have biases
  bool optional_bias;     // the configuration's attention_bias adds them to q, k, v and the output
  bool qk_norm;           // q and k are normalised per head
  WindowRule window;
  bool gguf_interleaves;  // GGUF stores the rows of q and k interleaved per head
};

// nullptr if there is none of this name.
const Architecture* architecture_of_hf(std::string_view name);
const Architecture* architecture_of_gguf(std::string_view name);

// "architecture 'NAME' is not supported: missing WHAT".
Error unsupported_architecture(const std::string& file, const std::string& name);

// Bases of the rotary frequencies lie in [1, kMaxRopeTheta]: none turns faster than one radian per
// position.
constexpr double kMaxRopeTheta = 1e30;

}  // namespace kvx::model
