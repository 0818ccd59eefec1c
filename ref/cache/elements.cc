#include "ref/cache/elements.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

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

}  // namespace kvx::ref
