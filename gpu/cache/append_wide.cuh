// Sealing where groups lie along the channels of a token, whole runs of 32 of them: a lane takes 32
// channels of one token and head, so that what a group or a row costs is paid once for them.
#pragma once

#include "gpu/cache/append_pack.cuh"
#include "gpu/cache/append_source.cuh"

namespace kvx::gpu {

KVX_HD inline bool takes_wide(const SideView& view) {
  const SideFormat& f = view.format;
  return !f.along_tokens && view.shape.head_dim % (8 * kWide) == 0 &&
         (f.scale_bytes == 0 || f.group % (8 * kWide) == 0);
}

// Warps of one side, for `tokens` tokens.
inline int64_t wide_warps(const CacheShape& shape, int64_t tokens) {
  const int64_t at_once = 32 / (shape.head_dim / (8 * kWide));
  return (tokens + at_once - 1) / at_once * shape.kv_heads;
}

// Statistics of all `lanes` lanes of a group, of which this is number `lane`, in each of them.
template <class Codec>
__device__ inline typename Codec::Stats merge_group(const Codec& codec,
                                                    const typename Codec::Stats& own, int lane,
                                                    int lanes) {
  const int leader = static_cast<int>(threadIdx.x) % 32 - lane;
  typename Codec::Stats all = own;
  for (int i = 1; i < lanes; ++i) {
    const int other = lane + i < lanes ? lane + i : lane + i - lanes;
    all = codec.merge(all, map_words(own, [&](uint32_t w) {
                        return __shfl_sync(~0u, w, (leader + other) & 31);
                      }));
  }
  return all;
}

// 32 channels of a pass row or of an exact row.
__device__ inline void load_wide(const SideView& view, const PassRows& rows, const PassSpan& span,
                                 int head, int32_t token, int channel, Eight (&x)[kWide]) {
  const bool older = token < span.first;
  const int64_t at = pass_index(view, span, token, head, channel);
  if (rows.type == ScalarType::kF16 || older) {
    const uint16_t* const from = older ? view.exact_row(span.slot, head, token) + channel
                                       : static_cast<const uint16_t*>(rows.data) + at;
#pragma unroll
    for (int i = 0; i < kWide; ++i) x[i] = load_halves(from + 8 * i);
  } else {
    const float* const from = static_cast<const float*>(rows.data) + at;
#pragma unroll
    for (int i = 0; i < kWide; ++i) x[i] = load_rounded(from + 8 * i);
  }
}

// The non-finite ones of 32 values.
__device__ inline void report_words(NonFiniteKey* key, int side, const SideView& view, int64_t row,
                                    int head, int channel, const Eight (&x)[kWide]) {
  const int64_t at = value_index(side, view, row, head, channel);
#pragma unroll
  for (int i = 0; i < 4 * kWide; ++i) report_pair(key, at + 2 * i, x[i / 4].word[i % 4]);
}

template <class Codec>
__device__ inline void append_wide(const AppendSide<Codec>& s, const PassSpan& span,
                                   NonFiniteKey* non_finite) {
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const SideFormat& format = view.format;
  const AppendRange range(format.rule, span, non_finite != nullptr);

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  const int tile = s.heads.quotient(warp), head = s.heads.remainder(warp, tile);
  const int row = s.wide_lanes.quotient(lane), part = s.wide_lanes.remainder(lane, row);
  const int step = s.wide_lanes.quotient(32);
  const int32_t warp_first = range.first + tile * step;
  if (warp_first >= range.end) return;
  const int32_t token = warp_first + row;
  const int channel = part * 8 * kWide;

  // Rows that stay in the ring are neither sealed nor new.
  const bool sealed = row < step && token < range.sealed;
  const bool wanted = sealed || (row < step && token < range.end && token >= span.first);
  Eight x[kWide] = {};
  int64_t page = 0;
  const int number = s.page_tokens.quotient(token);
  if (sealed) page = view.pages[int64_t{span.slot} * view.pages_per_slot + number];
  if (wanted) load_wide(view, s.rows, span, head, token, channel, x);
  if (non_finite != nullptr) {
    uint32_t seen = 0;
#pragma unroll
    for (int i = 0; i < kWide; ++i) seen = max_magnitudes(seen, x[i]);
    if (!pair_finite(seen) && token >= span.first)
      report_words(non_finite, s.side, view, int64_t{span.row} + (token - span.first), head,
                   channel, x);
  }
  if (warp_first >= range.sealed) return;

  const int group_index = s.group_wide.quotient(part);  // in the row
  const int group_lane = s.group_wide.remainder(part, group_index);
  typename Codec::Stats stats{};
  if (format.scale_bytes != 0) {
    stats = s.codec.template stats<kWide>(x);
    if constexpr (requires { s.codec.merge(stats, stats); })
      stats = merge_group(s.codec, stats, group_lane, static_cast<int>(s.group_wide.divisor));
  }
  if (!sealed) return;

  const typename Codec::Group group = s.codec.group(stats, head);
  const int64_t at =
      (page * shape.kv_heads + head) * shape.page_tokens + s.page_tokens.remainder(token, number);
  if (group_lane == 0)
    store_meta(view,
               at * s.group_wide.quotient(static_cast<int>(s.wide_lanes.divisor)) + group_index,
               group);
  uint32_t pair[kWide][4];
  encode_eights<kWide>(s.codec, x, group, pair);
  pack_wide(view.codes + at * format.row_bytes(shape.head_dim) + part * (kWide * format.bits),
            format.bits, pair);
}

}  // namespace kvx::gpu
