// Sealing eight channels of a token: their codes are counted from bounds in binary16 (the least
// value of each code), so that no value is divided.
#pragma once

#include "gpu/cache/append_source.cuh"
#include "gpu/kvquant/codec.cuh"

namespace kvx::gpu::kvquant {

// One side of an append as its kernel gets it.
struct SealSide {
  Codec codec;
  SideView view;
  PassRows rows;
  int side = 0;
  FastDiv octets;  // of a row of one head
  FastDiv page_tokens;

  SealSide(const Codec& codec_in, const SideView& view_in, const PassRows& rows_in, int side_in)
      : codec(codec_in),
        view(view_in),
        rows(rows_in),
        side(side_in),
        octets(view.shape.head_dim / 8),
        page_tokens(view.shape.page_tokens) {}

  // Values of a row of the pass.
  __device__ int width() const { return view.shape.kv_heads * view.shape.head_dim; }
};

// Where a token's rows lie: row 0 of KV head 0, and from head to head.
struct TokenRows {
  int64_t first;
  int64_t stride;

  __device__ TokenRows(const SealSide& s, int slot, int32_t token) {
    const int number = s.page_tokens.quotient(token);
    const int64_t page = s.view.pages[int64_t{slot} * s.view.pages_per_slot + number];
    stride = s.view.shape.page_tokens;
    first = page * s.view.shape.kv_heads * stride + s.page_tokens.remainder(token, number);
  }
};

__device__ inline Eight load_row8(const SealSide& s, int64_t at) {
  return s.rows.type == ScalarType::kF16
             ? load_halves(static_cast<const uint16_t*>(s.rows.data) + at)
             : load_rounded(static_cast<const float*>(s.rows.data) + at);
}

// A token of the sink: its values in binary16 go to the ring. `at`: index in the pass.
__device__ inline void keep8(const SealSide& s, int slot, int head, int32_t token, int channel,
                             int64_t at) {
  uint16_t* const to = s.view.exact_row(slot, head, token) + channel;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    to[i] = s.rows.type == ScalarType::kF16
                ? static_cast<const uint16_t*>(s.rows.data)[at + i]
                : f16_encode(static_cast<const float*>(s.rows.data)[at + i]);
}

// Reports the first of eight values that is not finite.
__device__ inline void look8(NonFiniteKey* key, const SealSide& s, int64_t at, const Eight& x) {
  if (key == nullptr || pair_finite(max_magnitudes(0, x))) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) report_pair(key, (s.side == 0 ? 0 : kKeyOfV) + at + 2 * i, x.word[i]);
}

// One bit of each value out of all-ones or all-zeros halves.
__device__ inline uint32_t byte_of(const uint32_t (&mask)[4]) {
  const uint32_t bits = (mask[0] & 0x00010001u) | (mask[1] & 0x00040004u) |
                        (mask[2] & 0x00100010u) | (mask[3] & 0x00400040u);
  return (bits | bits >> 15) & 0xFFu;
}
__device__ inline uint32_t at_least_mask(uint32_t x, uint32_t bound) {
  return __hge2_mask(as_half2(x), as_half2(bound));
}
__device__ inline uint32_t below_mask(uint32_t x, uint32_t bound) {
  return __hlt2_mask(as_half2(x), as_half2(bound));
}

// How many of the bounds 1 .. 2^kBits - 1 are at most x, for eight values: a little-endian stream
// of kBits each. `bound(j, i)`: bound j of pair i; a NaN counts as above all.
template <int kBits, class Bound>
__device__ inline uint32_t count_codes(const Eight& x, Bound bound) {
  uint32_t pair[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    __half2 count = __float2half2_rn(1024.0f);
#pragma unroll
    for (int j = 1; j < 1 << kBits; ++j)
      count = __hadd2_rn(count, __hge2(as_half2(x.word[i]), as_half2(bound(j, i))));
    pair[i] = as_word(count) & 0x000F000Fu;
  }
  if constexpr (kBits == 2) return pack8_of_2(pair);
  if constexpr (kBits == 4) return pack8_of_4(pair);
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) codes |= ((pair[i] | pair[i] >> (16 - kBits)) & 0x3Fu) << (6 * i);
  return codes;
}

template <int kBits>
__device__ inline void set_code(uint32_t& codes, int i, uint32_t code) {
  codes = (codes & ~(((1u << kBits) - 1u) << (kBits * i))) | code << (kBits * i);
}

__device__ inline uint16_t value_of(const Eight& x, int i) {
  const uint32_t low = i < 2 ? x.word[0] : x.word[1], high = i < 6 ? x.word[2] : x.word[3];
  return static_cast<uint16_t>((i < 4 ? low : high) >> (i % 2 * 16));
}

// Codes of the values of `which` looked for in the codebook. `scale(i)`: of value i.
template <int kBits, class ScaleOf>
__device__ inline void look_up_codes(const Codec& codec, const Eight& x, uint32_t which,
                                     ScaleOf scale, uint32_t& codes) {
  for (; which != 0; which &= which - 1) {
    const int i = __ffs(static_cast<int>(which)) - 1;
    const float u = position(false, f16_decode(value_of(x, i)), scale(i));
    set_code<kBits>(codes, i, nearest_code(codec.codebook, 1 << kBits, u));
  }
}

// Codes of outliers in profile repo: that of u = 0, and 0 where the range is nothing.
template <int kBits, class ScaleOf>
__device__ inline void hide_outliers(const Codec& codec, uint32_t which, ScaleOf scale,
                                     uint32_t& codes) {
  for (; which != 0; which &= which - 1) {
    const int i = __ffs(static_cast<int>(which)) - 1;
    set_code<kBits>(codes, i, scale(i).b == 0.0f ? 0u : codec.code_of_zero);
  }
}

// `quad`: eight channels of four neighbouring lanes follow each other in the row, and all of them
// are here.
template <int kBits>
__device__ inline void store_codes(std::byte* to, uint32_t codes, bool quad) {
  if constexpr (kBits == 2) {
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(codes);
  } else if constexpr (kBits == 4) {
    *reinterpret_cast<uint32_t*>(to) = codes;
  } else if (quad) {
    // Four lanes' 24 bits are three words, one a lane.
    const int lane = static_cast<int>(threadIdx.x) % 4;
    const uint32_t lanes = 0xFu << (static_cast<int>(threadIdx.x) % 32 - lane);
    const uint32_t next = __shfl_down_sync(lanes, codes, 1, 4);
    if (lane < 3)
      *reinterpret_cast<uint32_t*>(to + lane) = codes >> (8 * lane) | next << (24 - 8 * lane);
  } else {
    for (int i = 0; i < 3; ++i) to[i] = static_cast<std::byte>(codes >> (8 * i));
  }
}

__device__ inline void store_outliers(const SideView& view, int64_t row, int channel,
                                      const Eight& x, uint32_t marks) {
  const int64_t at = row * view.shape.head_dim + channel;
  view.marks[at / 8] = static_cast<uint8_t>(marks);
  for (; marks != 0; marks &= marks - 1) {
    const int i = __ffs(static_cast<int>(marks)) - 1;
    view.outliers[at + i] = value_of(x, i);
  }
}

}  // namespace kvx::gpu::kvquant
