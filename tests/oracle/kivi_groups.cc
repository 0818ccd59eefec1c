// One group of 32 values per row, through the kivi reference: standard input holds fp16 bit
// patterns, 32 a group, and standard output gets per group scale, minimum (fp16), 32 codes (u8), b
// words (u32), 32 decoded values (fp16). Odd groups are read as keys (tokens of a channel), even
// ones as values (channels of a token).
//
// usage: kivi_groups BITS < groups.f16 > coded.bin
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "tests/support/caches.h"

namespace kvx {
namespace {

constexpr int kGroup = 32;
constexpr int kBatch = 1024;  // groups of one cache: kBatch / 2 tokens of V, kBatch / 2 blocks of K

struct Coded {
  std::vector<uint16_t> scale, minimum;
  std::vector<uint8_t> codes;
  std::vector<uint32_t> words;
  std::vector<float> decoded;
};

Coded side_of(const std::map<std::string, test::Exported>& tensors, const std::string& side) {
  return {tensors.at(side + ".scale").as<uint16_t>(), tensors.at(side + ".zero").as<uint16_t>(),
          tensors.at(side + ".codes").as<uint8_t>(), tensors.at(side + ".packed").as<uint32_t>(),
          tensors.at(side + ".decoded").as<float>()};
}

template <class T>
void put(const T* values, size_t count) {
  std::fwrite(values, sizeof(T), count, stdout);
}

// 2 * kGroup * kGroup groups: as many channels (K) as tokens (V), in blocks of 32 tokens of 32
// channels.
void run(int bits, const std::vector<float>& groups) {
  const std::string b = std::to_string(bits);
  const auto cache = test::make("kivi:k" + b + "v" + b + ",r0", 1, kGroup);
  const int64_t tokens = kBatch / 2;
  test::Tensor k(tokens, 1, kGroup), v(tokens, 1, kGroup);
  const auto key_index = [](size_t group, size_t i) {  // of [tokens][32], groups [block][channel]
    return (group / kGroup * kGroup + i) * kGroup + group % kGroup;
  };
  for (size_t pair = 0; pair < kBatch / 2; ++pair) {
    for (size_t i = 0; i < kGroup; ++i) {
      v.values[pair * kGroup + i] = groups[2 * pair * kGroup + i];
      k.values[key_index(pair, i)] = groups[(2 * pair + 1) * kGroup + i];
    }
  }
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, v, 0, tokens);
  const auto tensors = test::exported(*cache, seq);
  const Coded keys = side_of(tensors, "k"), values = side_of(tensors, "v");
  for (size_t group = 0; group < kBatch; ++group) {
    const bool key = group % 2 == 1;
    const size_t pair = group / 2;
    const Coded& from = key ? keys : values;
    put(&from.scale[pair], 1);
    put(&from.minimum[pair], 1);
    uint8_t codes[kGroup];
    uint16_t decoded[kGroup];
    for (size_t i = 0; i < kGroup; ++i) {
      const size_t at = key ? key_index(pair, i) : pair * kGroup + i;
      codes[i] = from.codes[at];
      decoded[i] = num::f16_encode(from.decoded[at]);
    }
    put(codes, kGroup);
    // Keys: [channel][words of all blocks]; values: [token][words].
    const auto width = static_cast<size_t>(bits);
    const size_t blocks = kBatch / 2 / kGroup;
    put(&from.words[key ? (pair % kGroup * blocks + pair / kGroup) * width : pair * width], width);
    put(decoded, kGroup);
  }
}

}  // namespace
}  // namespace kvx

int main(int argc, char** argv) {
  const int bits = argc == 2 ? std::atoi(argv[1]) : 0;
  if (bits != 2 && bits != 4 && bits != 8) {
    std::fprintf(stderr, "usage: kivi_groups 2|4|8 < groups.f16 > coded.bin\n");
    return 2;
  }
  std::vector<uint16_t> patterns(kvx::kBatch * kvx::kGroup);
  for (;;) {
    const size_t read = std::fread(patterns.data(), 2, patterns.size(), stdin);
    if (read == 0) return 0;
    std::fill(patterns.begin() + static_cast<int64_t>(read), patterns.end(), uint16_t{0});
    kvx::run(bits, kvx::test::from_f16(patterns));  // the last batch is filled up with zeros
  }
}
