#include "ref/cache/elements.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

constexpr size_t kChunk = 256;  // values converted at a time

}  // namespace

const char* element_name(InputType type) {
  switch (type) {
    case InputType::kF32:
      return "f32";
    case InputType::kF16:
      return "f16";
    case InputType::kBf16:
      return "bf16";
  }
  throw std::logic_error("input type");
}

void store_elements(InputType type, std::span<const float> x, std::byte* out) {
  if (type == InputType::kF32) {
    std::memcpy(out, x.data(), x.size_bytes());
    return;
  }
  uint16_t bits[kChunk];
  for (size_t i = 0; i < x.size(); i += kChunk) {
    const auto part = x.subspan(i, std::min(kChunk, x.size() - i));
    const std::span to(bits, part.size());
    type == InputType::kF16 ? num::f16_encode(part, to) : num::bf16_encode(part, to);
    std::memcpy(out + 2 * i, bits, to.size_bytes());
  }
}

void load_elements(InputType type, const std::byte* in, std::span<float> x) {
  if (type == InputType::kF32) {
    std::memcpy(x.data(), in, x.size_bytes());
    return;
  }
  uint16_t bits[kChunk];
  for (size_t i = 0; i < x.size(); i += kChunk) {
    const auto part = x.subspan(i, std::min(kChunk, x.size() - i));
    const std::span from(bits, part.size());
    std::memcpy(bits, in + 2 * i, from.size_bytes());
    type == InputType::kF16 ? num::f16_decode(from, part) : num::bf16_decode(from, part);
  }
}

// The greatest magnitude as a pattern tells: infinities and NaN have all exponent bits set. Without
// a branch per value.
bool all_finite(std::span<const float> x) {
  uint32_t greatest = 0;
  for (const float value : x) {
    greatest = std::max(greatest, std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  }
  return greatest < 0x7F800000u;
}

size_t first_non_finite(InputType type, const std::byte* in, size_t count) {
  std::array<float, kChunk> values;
  for (size_t first = 0; first < count; first += kChunk) {
    const std::span part(values.data(), std::min(kChunk, count - first));
    load_elements(type, in + first * static_cast<size_t>(element_bytes(type)), part);
    if (all_finite(part)) continue;
    const auto found =
        std::find_if(part.begin(), part.end(), [](float value) { return !std::isfinite(value); });
    return first + static_cast<size_t>(found - part.begin());
  }
  return count;
}

size_t dtype_bytes(std::string_view dtype) {
  if (dtype == "U8") return 1;
  if (dtype == "F16") return 2;
  if (dtype == "F32" || dtype == "I32") return 4;
  throw std::logic_error("stored type " + std::string(dtype));
}

void store_patterns(std::span<const uint32_t> patterns, size_t width, std::byte* out) {
  for (size_t i = 0; i < patterns.size(); ++i) std::memcpy(out + i * width, &patterns[i], width);
}

void load_patterns(const std::byte* in, size_t width, std::span<uint32_t> patterns) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    patterns[i] = 0;
    std::memcpy(&patterns[i], in + i * width, width);
  }
}

}  // namespace kvx::ref
