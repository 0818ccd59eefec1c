#include "eval/logits_hash.h"

#include <bit>

namespace kvx::eval {

uint64_t row_hash(std::span<const float> logits) {
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15, kMix = 0xD6E8FEB86659FD93;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < logits.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(logits[i]);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint64_t b = magnitude > 0x7f800000u ? 0x7fffffffu : bits;
    uint64_t x = ((i + 1) * kStep) ^ (b * kMix);
    x ^= x >> 32;
    x *= kMix;
    x ^= x >> 29;
    sum += x;
  }
  return sum;
}

uint64_t logits_hash(std::span<const uint64_t> rows) {
  uint64_t sum = 0;
  for (uint64_t r = 0; r < rows.size(); ++r) sum += (2 * r + 1) * rows[r];
  return sum;
}

}  // namespace kvx::eval
