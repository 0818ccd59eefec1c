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

  __device__ RowLane(const CacheShape& shape, int32_t range_first) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
    const int lanes = shape.head_dim / 8;
    step = 32 / lanes;
    used = lane / lanes < step;
    channel = lane % lanes * 8;
    head = warp % shape.kv_heads;
    warp_first = range_first + warp / shape.kv_heads * step * kRowsPerLane;
    first = warp_first + lane / lanes;
  }
};

// Walks tokens in ascending order, by less than a page at a time.
struct PageCursor {
  const int32_t* page;
  int32_t in;

  __device__ PageCursor(const SideView& view, int slot, int32_t token)
      : page(view.pages + int64_t{slot} * view.pages_per_slot + token / view.shape.page_tokens),
        in(token % view.shape.page_tokens) {}
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

template <class Group>
__device__ inline void store_meta(const SideView& view, int64_t at, const Group& group) {
  const SideFormat& f = view.format;
  if (f.scale_bytes != 0) store_pattern(view.scale, f.scale_bytes, at, group.scale);
  if (f.zero_bytes != 0) store_pattern(view.zero, f.zero_bytes, at, group.zero);
}

// Groups of any size: every lane that needs a group walks over all of it.
template <class Codec>
__device__ inline void seal_any_group(const AppendSide<Codec>& s, const PassSpan& span, int head,
                                      int32_t token, int channel, const Eight& x) {
  const int g = s.view.format.group;
  typename Codec::Group group;
  uint32_t code[8];
  for (int i = 0; i < 8; ++i) {
    const int c = channel + i;
    if (i == 0 || c % g == 0) {
      const int start = c - c % g;
      auto stats = s.codec.stats(load_half(s.view, s.rows, span, head, token, start));
      for (int j = 1; j < g; ++j)
        stats = s.codec.merge(
            stats, s.codec.stats(load_half(s.view, s.rows, span, head, token, start + j)));
      group = s.codec.group(stats, head);
      if (c == start) store_meta(s.view, s.view.group_of(span.slot, head, token, c), group);
    }
    code[i] = s.codec.encode(x.value(i), group);
  }
  pack8(s.view.row(span.slot, head, token) + channel / 8 * s.view.format.bits, s.view.format.bits,
        code);
}

template <class Codec>
__device__ inline void append_channels(const AppendSide<Codec>& s, const PassSpan& span,
                                       NonFiniteKey* non_finite) {
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const SideFormat& format = view.format;
  const AppendRange range(format.rule, span, non_finite != nullptr);
  const RowLane at(shape, range.first);
  if (at.warp_first >= range.end) return;

  Eight x[kRowsPerLane];
  const auto wanted = [&](int32_t token) { return at.used && token < range.end; };
  load_tokens(view, s.rows, span, at.head, at.first, at.step, at.channel, wanted, x);
  if (non_finite != nullptr) {
#pragma unroll
    for (int i = 0; i < kRowsPerLane; ++i) {
      const int32_t token = at.first + i * at.step;
      if (wanted(token)) look(non_finite, s.side, view, span, at.head, token, at.channel, x[i]);
    }
  }
  if (at.warp_first >= range.sealed) return;

  const auto sealed = [&](int32_t token) { return at.used && token < range.sealed; };
  if constexpr (Codec::kAnyGroup) {
    if (format.group % 8 != 0) {
      for (int i = 0; i < kRowsPerLane; ++i) {
        const int32_t token = at.first + i * at.step;
        if (sealed(token)) seal_any_group(s, span, at.head, token, at.channel, x[i]);
      }
      return;
    }
  }
  const int in_group = at.channel % format.group;
  typename Codec::Stats stats[kRowsPerLane] = {};
  if (format.scale_bytes != 0) {
#pragma unroll
    for (int i = 0; i < kRowsPerLane; ++i) stats[i] = s.codec.stats(x[i], in_group);
    merge_lanes(s.codec, stats, in_group / 8, format.group / 8);
  }
  const int groups = shape.head_dim / format.group;  // of a row
  const int64_t page_codes = shape.page_tokens * format.row_bytes(shape.head_dim);
  PageCursor cursor(view, span.slot, at.first);
#pragma unroll
  for (int i = 0; i < kRowsPerLane; ++i) {
    if (i > 0) cursor.advance(at.step, shape.page_tokens);
    if (!sealed(at.first + i * at.step)) continue;
    const typename Codec::Group group = s.codec.group(stats[i], at.head);
    uint32_t code[8];
    encode8(s.codec, x[i], group, code);
    const int64_t page = cursor.index(shape, at.head);
    pack8(view.codes + page * page_codes + cursor.in * format.row_bytes(shape.head_dim) +
              at.channel / 8 * format.bits,
          format.bits, code);
    if (in_group == 0)
      store_meta(view, (page * shape.page_tokens + cursor.in) * groups + at.channel / format.group,
                 group);
  }
}

}  // namespace kvx::gpu
