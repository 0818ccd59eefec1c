// A tile's codes as bytes in shared memory, unpacked by a block once for all its queries, as
// columns of products (warpgroup.cuh): keys a column a row, of its channels; values a column a
// channel, of the tile's rows.
#pragma once

#include "gpu/fused/prefill_case.cuh"
#include "gpu/fused/warpgroup.cuh"

namespace kvx::gpu::fused {

// The thread's number, of which the compiler keeps nothing from tile to tile.
__device__ inline int thread_of_block() {
  auto x = static_cast<int>(threadIdx.x);
  asm volatile("" : "+r"(x));
  return x;
}

// A word of four rows and columns of bytes each, transposed.
__device__ inline void transpose4(uint32_t (&x)[4]) {
  const uint32_t a = __byte_perm(x[0], x[1], 0x5140), b = __byte_perm(x[2], x[3], 0x5140);
  const uint32_t c = __byte_perm(x[0], x[1], 0x7362), d = __byte_perm(x[2], x[3], 0x7362);
  x[0] = __byte_perm(a, b, 0x5410), x[1] = __byte_perm(a, b, 0x7632);
  x[2] = __byte_perm(c, d, 0x5410), x[3] = __byte_perm(c, d, 0x7632);
}

// 32 codes to words of four, in order. `from`: 4 kBits bytes, a multiple of 4 bytes.
template <int kBits>
__device__ inline void unpack32(const std::byte* from, uint32_t flip, uint32_t (&word)[8]) {
  uint32_t raw[kBits];
#pragma unroll
  for (int i = 0; i < kBits; ++i) raw[i] = reinterpret_cast<const uint32_t*>(from)[i];
  if constexpr (kBits == 8) {
#pragma unroll
    for (int i = 0; i < 8; ++i) word[i] = raw[i] ^ flip * 0x01010101u;
  } else if constexpr (kBits == 2) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t x = raw[i] ^ flip * 0x55555555u;
      uint32_t f[4] = {x & 0x03030303u, x >> 2 & 0x03030303u, x >> 4 & 0x03030303u,
                       x >> 6 & 0x03030303u};
      transpose4(f);
#pragma unroll
      for (int j = 0; j < 4; ++j) word[4 * i + j] = f[j];
    }
  } else {
    uint32_t eight[4];
    if constexpr (kBits == 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) eight[i] = raw[i];
    } else {
      eight[0] = spread3(raw[0]);
      eight[1] = spread3(__funnelshift_r(raw[0], raw[1], 24));
      eight[2] = spread3(__funnelshift_r(raw[1], raw[2], 16));
      eight[3] = spread3(raw[2] >> 8);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t x = eight[i] ^ flip * 0x11111111u;
      const uint32_t even = x & 0x0F0F0F0Fu, odd = x >> 4 & 0x0F0F0F0Fu;
      word[2 * i] = __byte_perm(even, odd, 0x5140);
      word[2 * i + 1] = __byte_perm(even, odd, 0x7362);
    }
  }
}

// The column of B that holds a row's key: a lane's products of columns 2 t, 2 t + 1 of two blocks
// of eight are four rows side by side.
__device__ inline int key_column(int row) {
  return row / 16 * 16 + row % 4 / 2 * 8 + row % 16 / 4 * 2 + row % 2;
}

template <int kBits, int kDim>
__device__ inline void unpack_keys(const std::byte* raw, uint32_t flip, std::byte* to) {
  constexpr int kParts = kDim / 32;  // of a row
#pragma unroll
  for (int i = 0; i < kParts * kTileRows / kPrefillThreads; ++i) {
    const int at = i * kPrefillThreads + thread_of_block();
    const int part = at % kParts, column = key_column(at / kParts);
    uint32_t word[8];
    unpack32<kBits>(raw + at * (4 * kBits), flip, word);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<uint4*>(to + swizzled(column, 2 * part + half)) =
          make_uint4(word[4 * half], word[4 * half + 1], word[4 * half + 2], word[4 * half + 3]);
  }
}

// Raw values lie with a gap of 16 bytes behind every four rows, where banks would be the same.
KVX_HD constexpr int four_rows_bytes(int row_bytes) { return 4 * row_bytes + 16; }

// Sixteen codes of a row to words whose codes lie kBits, of 3 bits four, apart: 8 bits 4 words, 4
// and 3 bits two, 2 bits one.
template <int kBits>
__device__ inline void load16(const std::byte* from, uint32_t flip, uint32_t (&word)[4]) {
  if constexpr (kBits == 8) {
    const uint4 x = *reinterpret_cast<const uint4*>(from);
    const uint32_t turn = flip * 0x01010101u;
    word[0] = x.x ^ turn, word[1] = x.y ^ turn, word[2] = x.z ^ turn, word[3] = x.w ^ turn;
  } else if constexpr (kBits == 2) {
    word[0] = *reinterpret_cast<const uint32_t*>(from) ^ flip * 0x55555555u;
  } else {
    uint2 x;
    if constexpr (kBits == 4) {
      x = *reinterpret_cast<const uint2*>(from);
    } else {
      const auto* halves = reinterpret_cast<const uint16_t*>(from);
      const uint32_t low = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
      x.x = spread3(low);
      x.y = spread3(low >> 24 | static_cast<uint32_t>(halves[2]) << 8);
    }
    word[0] = x.x ^ flip * 0x11111111u, word[1] = x.y ^ flip * 0x11111111u;
  }
}

// Four rows of sixteen channels to words of four rows, for each channel.
template <int kBits>
__device__ inline void unpack_square(const std::byte* from, int row_bytes, uint32_t flip,
                                     uint32_t (&channel)[16]) {
  constexpr int kField = kBits == 3 ? 4 : kBits, kFields = 8 / kField;
  uint32_t row[4][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) load16<kBits>(from + i * row_bytes, flip, row[i]);
#pragma unroll
  for (int w = 0; w < 4 / kFields; ++w) {
    uint32_t x[4] = {row[0][w], row[1][w], row[2][w], row[3][w]};
    transpose4(x);
#pragma unroll
    for (int b = 0; b < 4; ++b)
#pragma unroll
      for (int f = 0; f < kFields; ++f)
        channel[(4 * w + b) * kFields + f] =
            kBits == 8 ? x[b] : x[b] >> (kField * f) & ((1u << kField) - 1u) * 0x01010101u;
  }
}

template <int kBits, int kDim>
__device__ inline void unpack_values(const std::byte* raw, uint32_t flip, std::byte* to) {
  constexpr int kRowBytes = kDim / 8 * kBits;
#pragma unroll 1
  for (int at = thread_of_block(); at < 2 * kDim; at += kPrefillThreads) {
    const int rows = at % 32, part = at / 32;  // four rows, sixteen channels
    uint32_t channel[16];
    unpack_square<kBits>(raw + rows * four_rows_bytes(kRowBytes) + part * (2 * kBits), kRowBytes,
                         flip, channel);
#pragma unroll
    for (int c = 0; c < 16; ++c)
      *reinterpret_cast<uint32_t*>(to + swizzled(16 * part + c, rows / 4) + rows % 4 * 4) =
          channel[c];
  }
}

// Scales and zeros of a side as floats, [set][scales, zeros][count]: along tokens `count` channels,
// along channels the rows of the tile, of which the first `rows` may be read; the others are +0.
__device__ inline void unpack_numbers(const std::byte* scale, const std::byte* zero,
                                      float zero_factor, int sets, int count, bool along_tokens,
                                      int rows, float* to) {
  for (int i = thread_of_block(); i < sets * count; i += kPrefillThreads) {
    const int set = i / count, at = i - set * count;
    const int from = along_tokens ? i : at * sets + set;
    const bool there = along_tokens || at < rows;
    to[2 * set * count + at] = there ? half_at(scale, from) : 0.0f;
    to[(2 * set + 1) * count + at] = there ? __fmul_rn(half_at(zero, from), zero_factor) : 0.0f;
  }
}

}  // namespace kvx::gpu::fused
