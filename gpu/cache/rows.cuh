// Rows of a cache as kernels read them, eight channels at a time.
//
// A codec is plain data, one object for K and one for V of a layer, passed to kernels by value:
//
//   struct Codec {
//     struct Meta {...};                                     // scale and zero of one group
//     __device__ Meta meta(const SideView& view, int64_t group, int head) const;   // loads them
//     __device__ float decode(uint32_t code, const Meta& meta) const;  // what a read returns
//     ...                                                    // and what append.cuh asks for
//   };
//
// Or, where more belongs to a value than its code and its group, it loads rows itself:
//
//   __device__ void load8(const SideView& view, const RowPlace& place, int channel,
//                         float (&x)[8]) const;       // what a read returns
//   __device__ void attended8(... the same ...) const;  // what attention takes: keys rotated
#pragma once

#include <cstdint>

#include "gpu/cache/layout.h"
#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

// Eight codes of `bits` bits from the `bits` bytes at `from`.
__device__ inline void unpack8(const std::byte* from, int bits, uint32_t (&code)[8]) {
  switch (bits) {
    case 2: {
      const uint32_t w = *reinterpret_cast<const uint16_t*>(from);
#pragma unroll
      for (int i = 0; i < 8; ++i) code[i] = w >> (2 * i) & 3u;
      return;
    }
    case 4: {
      const uint32_t w = *reinterpret_cast<const uint32_t*>(from);
#pragma unroll
      for (int i = 0; i < 8; ++i) code[i] = w >> (4 * i) & 15u;
      return;
    }
    case 8: {
      const uint2 w = *reinterpret_cast<const uint2*>(from);
#pragma unroll
      for (int i = 0; i < 8; ++i) code[i] = (i < 4 ? w.x : w.y) >> (8 * (i % 4)) & 255u;
      return;
    }
    case 16: {
      const uint4 w = *reinterpret_cast<const uint4*>(from);
      const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) code[i] = word[i / 2] >> (16 * (i % 2)) & 0xFFFFu;
      return;
    }
    case 32: {
      const uint4 a = reinterpret_cast<const uint4*>(from)[0];
      const uint4 b = reinterpret_cast<const uint4*>(from)[1];
      code[0] = a.x, code[1] = a.y, code[2] = a.z, code[3] = a.w;
      code[4] = b.x, code[5] = b.y, code[6] = b.z, code[7] = b.w;
      return;
    }
    default: {  // 3, 5, 6, 7
      uint64_t w = 0;
      for (int i = 0; i < bits; ++i)
        w |= static_cast<uint64_t>(static_cast<uint8_t>(from[i])) << (8 * i);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        code[i] = static_cast<uint32_t>(w >> (bits * i)) & ((1u << bits) - 1u);
    }
  }
}

// Channels [channel, channel + 8) of a sealed token, decoded; channel is a multiple of 8. `codes`
// is where these channels' codes lie, `at` the index of the first channel's scale and zero.
template <class Codec>
__device__ inline void decode8(const Codec& codec, const SideView& view, const std::byte* codes,
                               int64_t at, int head, int channel, float (&x)[8]) {
  uint32_t code[8];
  unpack8(codes, view.format.bits, code);
  if (view.format.along_tokens) {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = codec.decode(code[i], codec.meta(view, at + i, head));
  } else if (view.format.group % 8 == 0) {
    const typename Codec::Meta meta = codec.meta(view, at, head);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = codec.decode(code[i], meta);
  } else {
    const int first = channel / view.format.group;
#pragma unroll
    for (int i = 0; i < 8; ++i)
      x[i] = codec.decode(code[i],
                          codec.meta(view, at + (channel + i) / view.format.group - first, head));
  }
}

// A sealed row of one head.
struct RowPlace {
  int64_t row;  // SideView::row_of
  int32_t slot, head, token;
};

template <class Codec>
concept LoadsRows = requires(const Codec& codec, const SideView& view, const RowPlace& place,
                             float (&x)[8]) {
  codec.load8(view, place, 0, x);
  codec.attended8(view, place, 0, x);
};

template <class Codec>
__device__ inline void load_sealed8(const Codec& codec, const SideView& view, int slot, int head,
                                    int32_t token, int channel, float (&x)[8]) {
  if constexpr (LoadsRows<Codec>) {
    codec.load8(view, {view.row_of(slot, head, token), slot, head, token}, channel, x);
  } else {
    decode8(codec, view, view.row(slot, head, token) + channel / 8 * view.format.bits,
            view.group_of(slot, head, token, channel), head, channel, x);
  }
}

// Channels [channel, channel + 8) of a pass row as they were given.
__device__ inline void load_pass8(const PassRows& rows, const CacheShape& shape, int64_t row,
                                  int head, int channel, float (&x)[8]) {
  const int64_t at = (row * shape.kv_heads + head) * shape.head_dim + channel;
  if (rows.type == ScalarType::kF32) {
    const float4* from = reinterpret_cast<const float4*>(static_cast<const float*>(rows.data) + at);
    const float4 a = from[0], b = from[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
  } else {
    const uint4 w = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(rows.data) + at);
    const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      x[i] = f16_decode(static_cast<uint16_t>(word[i / 2] >> (16 * (i % 2))));
  }
}

// Channels [channel, channel + 8) of a token that is read exactly: of the pass as computed (an
// exact span) or rounded to binary16, or from the ring.
__device__ inline void load_exact8(const SideView& view, const PassRows& rows, const PassSpan& span,
                                   int head, int32_t token, int channel, float (&x)[8]) {
  if (token >= span.first) {
    load_pass8(rows, view.shape, int64_t{span.row} + token - span.first, head, channel, x);
    if (span.exact) return;
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = fl16(x[i]);
    return;
  }
  const uint4 w = *reinterpret_cast<const uint4*>(view.exact_row(span.slot, head, token) + channel);
  const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    x[i] = f16_decode(static_cast<uint16_t>(word[i / 2] >> (16 * (i % 2))));
}

}  // namespace kvx::gpu
