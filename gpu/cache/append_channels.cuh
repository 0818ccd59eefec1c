// Sealing where groups lie along the channels of a token: a warp takes some tokens of one head,
// eight channels a lane; lanes of a group exchange statistics.
#pragma once

#include "gpu/cache/append_source.cuh"

namespace kvx::gpu {

inline constexpr int kRowsPerLane = 4;

// What a lane of a warp does: eight channels of tokens first, first + step, ... of one head.
struct RowLane {
  int head, channel, step;
  int32_t warp_first, first;
  bool used;

  template <class Codec>
  __device__ RowLane(const AppendSide<Codec>& s, int32_t range_first) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
    const int row = s.lanes.quotient(lane), tile = s.heads.quotient(warp);
    step = s.lanes.quotient(32);
    used = row < step;
    channel = s.lanes.remainder(lane, row) * 8;
    head = s.heads.remainder(warp, tile);
    warp_first = range_first + tile * step * kRowsPerLane;
    first = warp_first + row;
  }
};

// Walks tokens in ascending order, by less than a page at a time.
struct PageCursor {
  const int32_t* page;
  int32_t in;

  template <class Codec>
  __device__ PageCursor(const AppendSide<Codec>& s, int slot, int32_t token) {
    const int number = s.page_tokens.quotient(token);
    page = s.view.pages + int64_t{slot} * s.view.pages_per_slot + number;
    in = s.page_tokens.remainder(token, number);
  }
  __device__ void advance(int by, int page_tokens) {
    in += by;
    if (in < page_tokens) return;
    in -= page_tokens;
    ++page;
  }
  // Of the head in this page.
  __device__ int64_t index(const CacheShape& shape, int head) const {
    return int64_t{*page} * shape.kv_heads + head;
  }
};

// Statistics of all lanes of a group, in each of them. `lane` of `lanes`, of consecutive ones.
template <class Codec, int kCount>
__device__ inline void merge_lanes(const Codec& codec, typename Codec::Stats (&stats)[kCount],
                                   int lane, int lanes) {
  if ((lanes & (lanes - 1)) == 0) {
    for (int off = lanes / 2; off > 0; off /= 2) {
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        stats[i] = codec.merge(stats[i], map_words(stats[i], [&](uint32_t w) {
                                 return __shfl_xor_sync(~0u, w, off);
                               }));
    }
    return;
  }
  for (int off = 16; off > 0; off /= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const typename Codec::Stats other =
          map_words(stats[i], [&](uint32_t w) { return __shfl_down_sync(~0u, w, off); });
      if (lane + off < lanes) stats[i] = codec.merge(stats[i], other);
    }
  }
  const int leader = static_cast<int>(threadIdx.x) % 32 - lane;
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    stats[i] = map_words(stats[i], [&](uint32_t w) { return __shfl_sync(~0u, w, leader & 31); });
}

// Groups of any size: every lane that needs a group walks over all of it.
template <class Codec>
__device__ inline typename Codec::Group any_group(const AppendSide<Codec>& s, const PassSpan& span,
                                                  int head, int32_t token, int channel) {
  const int g = s.view.format.group;
  const int start = channel - channel % g;
  auto stats = s.codec.stats(load_half(s.view, s.rows, span, head, token, start));
  for (int j = 1; j < g; ++j)
    stats = s.codec.merge(stats,
                          s.codec.stats(load_half(s.view, s.rows, span, head, token, start + j)));
  const typename Codec::Group group = s.codec.group(stats, head);
  if (channel == start) store_meta(s.view, s.view.group_of(span.slot, head, token, start), group);
  return group;
}

template <class Codec>
__device__ inline void seal_any_groups(const AppendSide<Codec>& s, const PassSpan& span, int head,
                                       int32_t token, int channel) {
  const int bits = s.view.format.bits;
  uint64_t codes = 0;
#pragma unroll 1
  for (int i = 0; i < 8; ++i) {
    const int c = channel + i;
    const typename Codec::Group group = any_group(s, span, head, token, c);
    const uint32_t x = load_half(s.view, s.rows, span, head, token, c);
    codes |= static_cast<uint64_t>(s.codec.encode(x, group, group) & 0xFFFFu) << (bits * i);
  }
  std::byte* const to = s.view.row(span.slot, head, token) + channel / 8 * bits;
  for (int i = 0; i < bits; ++i) to[i] = static_cast<std::byte>(codes >> (8 * i));
}

template <class Codec>
__device__ inline void append_channels(const AppendSide<Codec>& s, const PassSpan& span,
                                       NonFiniteKey* non_finite) {
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const SideFormat& format = view.format;
  const AppendRange range(format.rule, span, non_finite != nullptr);
  const RowLane at(s, range.first);
  if (at.warp_first >= range.end) return;

  Eight x[kRowsPerLane];
  // Rows that stay in the ring are neither sealed nor new.
  const auto wanted = [&](int32_t token) {
    return at.used && token < range.end && (token < range.sealed || token >= span.first);
  };
  load_tokens(view, s.rows, span, at.head, at.first, at.step, at.channel, wanted, x);
  if (non_finite != nullptr)
    look(non_finite, s.side, view, span, at.head, at.first, at.step, at.channel, wanted, x);
  if (at.warp_first >= range.sealed) return;

  const auto sealed = [&](int32_t token) { return at.used && token < range.sealed; };
  if constexpr (Codec::kAnyGroup) {
    if (format.group % 8 != 0) {
#pragma unroll 1
      for (int i = 0; i < kRowsPerLane; ++i) {
        const int32_t token = at.first + i * at.step;
        if (sealed(token)) seal_any_groups(s, span, at.head, token, at.channel);
      }
      return;
    }
  }
  const int lane = at.channel / 8;                       // of the row
  const int group_index = s.group_lanes.quotient(lane);  // in the row
  const int group_lane = s.group_lanes.remainder(lane, group_index);
  typename Codec::Stats stats[kRowsPerLane] = {};
  if (format.scale_bytes != 0) {
#pragma unroll
    for (int i = 0; i < kRowsPerLane; ++i) stats[i] = s.codec.template stats<1>(&x[i]);
    merge_lanes(s.codec, stats, group_lane, static_cast<int>(s.group_lanes.divisor));
  }
  const int groups = s.group_lanes.quotient(static_cast<int>(s.lanes.divisor));  // of a row
  const int64_t row_bytes = format.row_bytes(shape.head_dim);
  PageCursor cursor(s, span.slot, at.first);
#pragma unroll
  for (int i = 0; i < kRowsPerLane; ++i) {
    if (i > 0) cursor.advance(at.step, shape.page_tokens);
    if (!sealed(at.first + i * at.step)) continue;
    const typename Codec::Group group = s.codec.group(stats[i], at.head);
    uint32_t pair[1][4];
    encode_eights<1>(s.codec, &x[i], group, pair);
    const int64_t row = cursor.index(shape, at.head) * shape.page_tokens + cursor.in;
    pack8(view.codes + row * row_bytes + lane * format.bits, format.bits, pair[0]);
    if (group_lane == 0) store_meta(view, row * groups + group_index, group);
  }
}

}  // namespace kvx::gpu
