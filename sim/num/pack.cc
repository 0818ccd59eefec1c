#include "sim/num/pack.h"

namespace kvx::num {

void pack_codes(std::span<const uint8_t> codes, int bits, std::span<uint32_t> words) {
  uint64_t pending = 0;
  int held = 0;
  size_t word = 0;
  for (const uint8_t code : codes) {
    pending |= static_cast<uint64_t>(code) << held;
    held += bits;
    if (held >= 32) {
      words[word++] = static_cast<uint32_t>(pending);
      pending >>= 32;
      held -= 32;
    }
  }
  if (held > 0) words[word] = static_cast<uint32_t>(pending);
}

void unpack_codes(std::span<const uint32_t> words, int bits, std::span<uint8_t> codes) {
  const uint32_t mask = (1u << bits) - 1u;
  uint64_t pending = 0;
  int held = 0;
  size_t word = 0;
  for (uint8_t& code : codes) {
    if (held < bits) {
      pending |= static_cast<uint64_t>(words[word++]) << held;
      held += 32;
    }
    code = static_cast<uint8_t>(pending & mask);
    pending >>= bits;
    held -= bits;
  }
}

}  // namespace kvx::num
