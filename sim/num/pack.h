// Bit streams of n-bit codes, n = 1..8, little-endian: code i at bits n*i .. n*i+n-1, bit b of the
// stream is bit b mod 32 of word b div 32; the last word is filled up with zero bits.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

constexpr int64_t packed_words(int64_t codes, int bits) { return (codes * bits + 31) / 32; }

// codes: values below 2^bits; words: packed_words(codes.size(), bits).
void pack_codes(std::span<const uint8_t> codes, int bits, std::span<uint32_t> words);
void unpack_codes(std::span<const uint32_t> words, int bits, std::span<uint8_t> codes);

}  // namespace kvx::num
