// Sealing where groups are 32 tokens of a channel: a warp takes one group of 64 channels of one
// head, four channels and every other token a lane, and reads each value once.
#pragma once

#include "gpu/cache/append_source.cuh"

namespace kvx::gpu {

inline constexpr int kColumnTokens = 32;
inline constexpr int kColumnLanes = kTileChannels / 4;           // of a token
inline constexpr int kColumnStep = 32 / kColumnLanes;            // tokens at once
inline constexpr int kColumnRows = kColumnTokens / kColumnStep;  // of a lane

KVX_HD inline bool takes_columns(const SideView& view) {
  const SideFormat& f = view.format;
  return f.along_tokens && f.group == kColumnTokens && view.shape.head_dim % kTileChannels == 0 &&
         (f.bits == 2 || f.bits == 4 || f.bits == 8);
}

// Four channels of a token in binary16.
__device__ inline uint2 load_four(const SideView& view, const PassRows& rows, const PassSpan& span,
                                  int head, int32_t token, int channel) {
  const bool older = token < span.first;
  const int64_t at = pass_index(view, span, token, head, channel);
  if (rows.type == ScalarType::kF16 || older) {
    const uint16_t* const from = older ? view.exact_row(span.slot, head, token) + channel
                                       : static_cast<const uint16_t*>(rows.data) + at;
    return __ldg(reinterpret_cast<const uint2*>(from));
  }
  const float4 a =
      __ldg(reinterpret_cast<const float4*>(static_cast<const float*>(rows.data) + at));
  return {f16_pair(a.x, a.y), f16_pair(a.z, a.w)};
}

// Metadata of four neighbouring channels, `at` that of the first.
template <class Group>
__device__ inline void store_meta4(const SideView& view, int64_t at, const Group (&group)[4]) {
  const auto store = [&](std::byte* to, auto pattern) {
    *reinterpret_cast<uint2*>(to + at * 2) = {pattern(0) | pattern(1) << 16,
                                              pattern(2) | pattern(3) << 16};
  };
  store(view.scale, [&](int i) { return group[i].scale; });
  if (view.format.zero_bytes != 0) store(view.zero, [&](int i) { return group[i].zero; });
}

// Four codes of kBits bits, in pairs, to half as many bytes.
template <int kBits>
__device__ inline void pack4(std::byte* to, uint32_t low, uint32_t high) {
  if constexpr (kBits == 2) {
    const uint32_t w = low + (high << 4);
    *reinterpret_cast<uint8_t*>(to) = static_cast<uint8_t>(w | w >> 14);
  } else if constexpr (kBits == 4) {
    const uint32_t w = low + (high << 8);
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(w | w >> 12);
  } else {
    *reinterpret_cast<uint32_t*>(to) = __byte_perm(low, high, 0x6420);
  }
}

template <int kBits, class Codec>
__device__ inline void store_columns(const Codec& codec, const typename Codec::Group (&group)[4],
                                     const uint2 (&x)[kColumnRows], std::byte* to, int64_t step) {
#pragma unroll
  for (int i = 0; i < kColumnRows; ++i) {
    pack4<kBits>(to, codec.encode(x[i].x, group[0], group[1]),
                 codec.encode(x[i].y, group[2], group[3]));
    to += step;
  }
}

template <class Codec>
__device__ inline void append_columns(const AppendSide<Codec>& s, const PassSpan& span,
                                      NonFiniteKey* non_finite) {
  using Extremes = typename Codec::Extremes;
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const SideFormat& format = view.format;
  const AppendRange range(format.rule, span, non_finite != nullptr);

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  const int row_tile = s.tiles.quotient(warp), index = s.heads.quotient(row_tile);
  const int channel = s.tiles.remainder(warp, row_tile) * kTileChannels + lane % kColumnLanes * 4;
  const int head = s.heads.remainder(row_tile, index);
  const int32_t base = range.first + index * kColumnTokens;
  if (base >= range.end) return;
  const bool seals = base < range.sealed;
  const int32_t first = base + lane / kColumnLanes;
  // An open group is only looked at, and only where the pass brought it.
  const int32_t begin = seals || base >= span.first ? base : span.first;
  const int32_t end = min(base + kColumnTokens, range.end);

  const int number = s.page_tokens.quotient(base), in = s.page_tokens.remainder(base, number);
  int64_t page = 0;
  if (seals) page = view.pages[int64_t{span.slot} * view.pages_per_slot + number];
  uint2 x[kColumnRows];
  if (seals && base >= span.first && s.rows.type == ScalarType::kF16) {
    const uint16_t* from =
        static_cast<const uint16_t*>(s.rows.data) + pass_index(view, span, first, head, channel);
    const int64_t step = int64_t{kColumnStep} * shape.kv_heads * shape.head_dim;
#pragma unroll
    for (int i = 0; i < kColumnRows; ++i)
      x[i] = __ldg(reinterpret_cast<const uint2*>(from + i * step));
  } else {
#pragma unroll
    for (int i = 0; i < kColumnRows; ++i) {
      const int32_t t = first + i * kColumnStep;
      x[i] = {0, 0};
      if (t >= begin && t < end) x[i] = load_four(view, s.rows, span, head, t, channel);
    }
  }
  if (non_finite != nullptr) {
    uint32_t seen = 0;
#pragma unroll
    for (int i = 0; i < kColumnRows; ++i)
      seen = max_magnitudes(max_magnitudes(seen, x[i].x), x[i].y);
    if (!pair_finite(seen)) {
#pragma unroll
      for (int i = 0; i < kColumnRows; ++i) {
        const int32_t t = first + i * kColumnStep;
        if (t < span.first) continue;
        const int64_t at =
            value_index(s.side, view, int64_t{span.row} + (t - span.first), head, channel);
        report_pair(non_finite, at, x[i].x);
        report_pair(non_finite, at + 2, x[i].y);
      }
    }
  }
  if (!seals) return;

  uint32_t low[2] = {x[0].x, x[0].y}, high[2] = {x[0].x, x[0].y};
#pragma unroll
  for (int i = 1; i < kColumnRows; ++i) {
    low[0] = Extremes::merge(low[0], x[i].x), low[1] = Extremes::merge(low[1], x[i].y);
    high[0] = Extremes::greater(high[0], x[i].x), high[1] = Extremes::greater(high[1], x[i].y);
  }
  typename Codec::Group group[4];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    high[c] ^= Extremes::kFlip;
#pragma unroll
    for (int off = kColumnLanes; off < 32; off *= 2) {
      low[c] = Extremes::merge(low[c], __shfl_xor_sync(~0u, low[c], off));
      high[c] = Extremes::merge(high[c], __shfl_xor_sync(~0u, high[c], off));
    }
    group[2 * c] = s.codec.group(__byte_perm(low[c], high[c], 0x5410), head);
    group[2 * c + 1] = s.codec.group(__byte_perm(low[c], high[c], 0x7632), head);
  }

  page = page * shape.kv_heads + head;
  if (lane / kColumnLanes == 0)
    store_meta4(view,
                (page * (shape.page_tokens / kColumnTokens) + in / kColumnTokens) * shape.head_dim +
                    channel,
                group);
  const int64_t row_bytes = format.row_bytes(shape.head_dim), step = kColumnStep * row_bytes;
  std::byte* const to = view.codes +
                        (page * shape.page_tokens + in + lane / kColumnLanes) * row_bytes +
                        channel / 4 * format.bits / 2;
  if (format.bits == 2) {
    store_columns<2>(s.codec, group, x, to, step);
  } else if (format.bits == 4) {
    store_columns<4>(s.codec, group, x, to, step);
  } else {
    store_columns<8>(s.codec, group, x, to, step);
  }
}

}  // namespace kvx::gpu
