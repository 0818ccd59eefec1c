#include "tests/hash/caches.h"

#include "tests/laws/cases.h"
#include "tests/support/caches.h"

namespace kvx::hash {

// The image and the values read, of 170 tokens of ordinary keys, of ties and of extremes.
void caches(Report& report) {
  constexpr int64_t kTokens = 170;
  constexpr int kHeads = 2, kDim = 64;
  for (const char* descriptor : laws::kCases) {
    Hash hash;
    for (const gen::Fill fill : {gen::Fill::kRopeKeys, gen::Fill::kTies, gen::Fill::kF16Extreme,
                                 gen::Fill::kF16Subnormal}) {
      const auto cache = test::make(descriptor, kHeads, kDim);
      const SeqId seq = cache->open();
      const test::Tensor k = test::filled(fill, 3, 0, kTokens, kHeads, kDim);
      const test::Tensor v = test::filled(fill, 3, 1, kTokens, kHeads, kDim);
      test::append(*cache, seq, k, v, 0, kTokens);
      for (const std::byte byte : cache->image(seq)) hash.add(std::to_integer<uint8_t>(byte));
      for (const Side side : {Side::kK, Side::kV}) {
        const std::vector<float> values = test::read_held(*cache, seq, side);
        hash.add(std::span<const float>(values));
      }
    }
    report.line(std::string("cache.") + descriptor, hash);
  }
}

}  // namespace kvx::hash
