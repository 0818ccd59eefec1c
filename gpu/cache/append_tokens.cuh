// Sealing where groups lie along the tokens of a channel: a warp takes one group of 64 channels of
// one head, eight channels and every fourth token a lane.
#pragma once

#include "gpu/cache/append_channels.cuh"

namespace kvx::gpu {

inline constexpr int kTokenLanes = 32 / (kTileChannels / 8);
inline constexpr int kTokensPerLane = 8;
// Groups of as many tokens stay in registers between statistics and codes; longer ones are read
// again, from the caches.
inline constexpr int kTokensHeld = kTokenLanes * kTokensPerLane;

// Metadata of eight neighbouring channels, `at` that of the first.
template <class Group>
__device__ inline void store_meta8(const SideView& view, int64_t at, const Group (&group)[8]) {
  const auto store = [&](std::byte* to, auto pattern) {
    uint4 w;
    w.x = pattern(0) | pattern(1) << 16, w.y = pattern(2) | pattern(3) << 16;
    w.z = pattern(4) | pattern(5) << 16, w.w = pattern(6) | pattern(7) << 16;
    *reinterpret_cast<uint4*>(to + at * 2) = w;
  };
  store(view.scale, [&](int i) { return group[i].scale; });
  if (view.format.zero_bytes != 0) store(view.zero, [&](int i) { return group[i].zero; });
}

template <class Codec>
__device__ inline void append_tokens(const AppendSide<Codec>& s, const PassSpan& span,
                                     NonFiniteKey* non_finite) {
  using Extremes = typename Codec::Extremes;
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const SideFormat& format = view.format;
  const AppendRange range(s, span, non_finite != nullptr);

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  const int row_tile = s.tiles.quotient(warp), index = s.heads.quotient(row_tile);
  const int channel = s.tiles.remainder(warp, row_tile) * kTileChannels + lane % 8 * 8;
  const int head = s.heads.remainder(row_tile, index);
  const int64_t first = range.first + int64_t{index} * format.group;
  if (first >= range.end) return;
  const auto base = static_cast<int32_t>(first);
  const bool seals = base < range.sealed;
  const bool used = channel < shape.head_dim;
  const int32_t token_lane = base + lane / 8;
  const int32_t end = base + format.group < range.end ? base + format.group : range.end;
  // An open group is only looked at, and only where the pass brought it.
  const int32_t begin = seals || base >= span.first ? base : span.first;
  const auto wanted = [&](int32_t token) { return used && token >= begin && token < end; };

  Eight x[kTokensPerLane];
  Eight low, high;  // min x and min -x of each channel
#pragma unroll
  for (int c = 0; c < 4; ++c) low.word[c] = high.word[c] = Extremes::kNone;
  for (int32_t done = 0; done < format.group; done += kTokensHeld) {
    const int32_t token = token_lane + done;
    load_tokens(view, s.rows, span, head, token, kTokenLanes, channel, wanted, x);
    if (non_finite != nullptr)
      look(non_finite, s.side, view, span, head, token, kTokenLanes, channel, wanted, x);
#pragma unroll
    for (int i = 0; i < kTokensPerLane; ++i) {
      const int32_t t = token + i * kTokenLanes;
      if (!wanted(t)) continue;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        low.word[c] = Extremes::merge(low.word[c], x[i].word[c]);
        high.word[c] = Extremes::merge(high.word[c], x[i].word[c] ^ Extremes::kFlip);
      }
    }
  }
  if (!seals) return;

#pragma unroll
  for (int off = 8; off < 32; off *= 2) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      low.word[c] = Extremes::merge(low.word[c], __shfl_xor_sync(~0u, low.word[c], off));
      high.word[c] = Extremes::merge(high.word[c], __shfl_xor_sync(~0u, high.word[c], off));
    }
  }
  if (!used) return;
  typename Codec::Group group[8];
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    group[2 * c] = s.codec.group(__byte_perm(low.word[c], high.word[c], 0x5410), head);
    group[2 * c + 1] = s.codec.group(__byte_perm(low.word[c], high.word[c], 0x7632), head);
  }

  const PageCursor cursor(s, span.slot, base);
  const int32_t in = cursor.in;
  const int64_t page = cursor.index(shape, head);
  if (lane / 8 == 0)
    store_meta8(
        view,
        page * page_groups(format, shape) + int64_t{in / format.group} * shape.head_dim + channel,
        group);
  const int64_t row_bytes = format.row_bytes(shape.head_dim);
  std::byte* const codes =
      view.codes + (page * shape.page_tokens + in) * row_bytes + channel / 8 * format.bits;
  for (int32_t done = 0; done < format.group; done += kTokensHeld) {
    const int32_t token = token_lane + done;
    if (format.group > kTokensHeld)
      load_tokens(view, s.rows, span, head, token, kTokenLanes, channel, wanted, x);
#pragma unroll
    for (int i = 0; i < kTokensPerLane; ++i) {
      const int32_t t = token + i * kTokenLanes;
      if (t >= end) continue;
      uint32_t pair[4];
#pragma unroll
      for (int c = 0; c < 4; ++c)
        pair[c] = s.codec.encode(x[i].word[c], group[2 * c], group[2 * c + 1]);
      pack8(codes + (t - base) * row_bytes, format.bits, pair);
    }
  }
}

}  // namespace kvx::gpu
