// Arrays of the types that caches store, little-endian bytes without alignment.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "sim/api/cache.h"

namespace kvx::ref {

constexpr int element_bytes(InputType type) { return type == InputType::kF32 ? 4 : 2; }
const char* element_name(InputType type);  // "f32", "f16", "bf16"

// Rounds x to the type (to nearest, ties to even). out: x.size() * element_bytes(type) bytes.
void store_elements(InputType type, std::span<const float> x, std::byte* out);
void load_elements(InputType type, const std::byte* in, std::span<float> x);

// Index of the first infinity or NaN of an array of `count` values; count if there is none.
size_t first_non_finite(InputType type, const std::byte* in, size_t count);
bool all_finite(std::span<const float> x);

// Bytes of a value of a stored type as safetensors spells it: U8, F16, F32, I32.
size_t dtype_bytes(std::string_view dtype);
// Bit patterns, `width` bytes each: the low bytes of a pattern.
void store_patterns(std::span<const uint32_t> patterns, size_t width, std::byte* out);
void load_patterns(const std::byte* in, size_t width, std::span<uint32_t> patterns);

}  // namespace kvx::ref
