// Blocks of 32 values through the ggml reference: standard input holds fp16 bit patterns, 32 a
// block, and standard output gets per block its bytes and the 32 decoded values (fp16). Even blocks
// are read as K, odd ones as V.
//
// usage: ggml_blocks q8_0|q5_1|q5_0|q4_1|q4_0 < blocks.f16 > coded.bin
#include <cstdio>

#include "tests/support/caches.h"

namespace kvx {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kTokens = 512;  // of one cache: 2 * kTokens blocks

void run(const std::string& type, const std::vector<float>& blocks) {
  const auto cache = test::make("ggml:" + type, 1, kBlock);
  test::Tensor k(kTokens, 1, kBlock), v(kTokens, 1, kBlock);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const size_t block = i / kBlock;
    (block % 2 == 0 ? k : v).values[block / 2 * kBlock + i % kBlock] = blocks[i];
  }
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, v, 0, kTokens);
  const auto tensors = test::exported(*cache, seq);
  const size_t bytes = tensors.at("k.packed").bytes.size() / kTokens;
  std::array<std::vector<float>, 2> decoded = {tensors.at("k.decoded").as<float>(),
                                               tensors.at("v.decoded").as<float>()};
  for (size_t block = 0; block < 2 * kTokens; ++block) {
    const auto& packed = tensors.at(block % 2 == 0 ? "k.packed" : "v.packed").bytes;
    std::fwrite(&packed[block / 2 * bytes], 1, bytes, stdout);
    uint16_t values[kBlock];
    num::f16_encode(std::span<const float>(decoded[block % 2]).subspan(block / 2 * kBlock, kBlock),
                    values);
    std::fwrite(values, 2, kBlock, stdout);
  }
}

}  // namespace
}  // namespace kvx

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: ggml_blocks q8_0|q5_1|q5_0|q4_1|q4_0 < blocks.f16 > coded.bin\n");
    return 2;
  }
  std::vector<uint16_t> patterns(2 * kvx::kTokens * kvx::kBlock);
  for (;;) {
    const size_t read = std::fread(patterns.data(), 2, patterns.size(), stdin);
    if (read == 0) return 0;
    std::fill(patterns.begin() + static_cast<int64_t>(read), patterns.end(), uint16_t{0});
    kvx::run(argv[1], kvx::test::from_f16(patterns));  // the last batch is filled up with zeros
  }
}
