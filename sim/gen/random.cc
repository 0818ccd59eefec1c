#include "sim/gen/random.h"

#include <cmath>

#include "sim/num/elementary.h"

namespace kvx::gen {
namespace {

double to_uniform(const Words& words) {
  const uint64_t bits = (static_cast<uint64_t>(words[1]) << 32) | words[0];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace

Words philox(Words c, std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return c;
}

Words Source::words(uint64_t index) const {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), tensor, purpose},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

double Source::uniform(uint64_t index) const { return to_uniform(words(index)); }

float Source::normal(uint64_t index) const {
  const Words w = words(index);
  const double radius = std::sqrt(-2.0 * num::log64(1.0 - to_uniform(w)));
  return static_cast<float>(radius * static_cast<double>(num::sincos_phase(w[2]).cos));
}

}  // namespace kvx::gen
