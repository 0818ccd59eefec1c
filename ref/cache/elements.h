// Arrays of the float types that caches store, little-endian bytes without alignment.
#pragma once

#include <cstddef>
#include <span>

#include "sim/api/cache.h"

namespace kvx::ref {

constexpr int element_bytes(InputType type) { return type == InputType::kF32 ? 4 : 2; }
const char* element_name(InputType type);  // "f32", "f16", "bf16"

// Rounds x to the type (to nearest, ties to even). out: x.size() * element_bytes(type) bytes.
void store_elements(InputType type, std::span<const float> x, std::byte* out);
void load_elements(InputType type, const std::byte* in, std::span<float> x);

}  // namespace kvx::ref
