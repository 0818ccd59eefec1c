// The codes of a lane's 32 channels as a little-endian bit stream, stored by whole words.
#pragma once

#include "gpu/cache/append_math.cuh"

namespace kvx::gpu {

inline constexpr int kWide = 4;  // times eight channels of a lane

template <int kBits>
__device__ inline void pack_words(const uint32_t (&pair)[kWide][4], uint32_t (&word)[kBits]) {
  if constexpr (kBits == 2) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      word[i] = pack8_of_2(pair[2 * i]) | pack8_of_2(pair[2 * i + 1]) << 16;
  } else if constexpr (kBits == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = pack8_of_4(pair[i]);
  } else if constexpr (kBits == 8) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      word[i] = __byte_perm(pair[i / 2][i % 2 * 2], pair[i / 2][i % 2 * 2 + 1], 0x6420);
  } else {
#pragma unroll
    for (int i = 0; i < kBits; ++i) word[i] = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const uint32_t codes = pair[i / 4][i % 4];
      const uint32_t two = (codes | codes >> (16 - kBits)) & ((1u << 2 * kBits) - 1u);
      const int at = 2 * kBits * i;
      word[at / 32] |= two << at % 32;
      if (at % 32 + 2 * kBits > 32) word[at / 32 + 1] |= two >> (32 - at % 32);
    }
  }
}

template <int kBits>
__device__ inline void store_words(std::byte* to, const uint32_t (&word)[kBits]) {
  if constexpr (kBits % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kBits; i += 4)
      reinterpret_cast<uint4*>(to)[i / 4] = {word[i], word[i + 1], word[i + 2], word[i + 3]};
  } else if constexpr (kBits % 2 == 0) {
#pragma unroll
    for (int i = 0; i < kBits; i += 2) reinterpret_cast<uint2*>(to)[i / 2] = {word[i], word[i + 1]};
  } else {
#pragma unroll
    for (int i = 0; i < kBits; ++i) reinterpret_cast<uint32_t*>(to)[i] = word[i];
  }
}

template <int kBits>
__device__ inline void pack_wide(std::byte* to, const uint32_t (&pair)[kWide][4]) {
  uint32_t word[kBits];
  pack_words<kBits>(pair, word);
  store_words<kBits>(to, word);
}

// 32 codes of `bits` bits, in pairs, to 4 * `bits` bytes at `to`, a multiple of that.
__device__ inline void pack_wide(std::byte* to, int bits, const uint32_t (&pair)[kWide][4]) {
  switch (bits) {
    case 2:
      return pack_wide<2>(to, pair);
    case 3:
      return pack_wide<3>(to, pair);
    case 4:
      return pack_wide<4>(to, pair);
    case 5:
      return pack_wide<5>(to, pair);
    case 6:
      return pack_wide<6>(to, pair);
    case 7:
      return pack_wide<7>(to, pair);
    default:
      return pack_wide<8>(to, pair);
  }
}

}  // namespace kvx::gpu
