// Where sealing reads: rows of the pass, or of the ring for tokens older than the pass, in
// binary16.
#pragma once

#include "gpu/cache/append_math.cuh"
#include "gpu/cache/kernels.h"
#include "gpu/cache/layout.h"

namespace kvx::gpu {

inline constexpr int kAppendThreads = 128;
inline constexpr int kTileChannels = 64;  // of a warp, where groups lie along tokens

KVX_HD inline int token_tiles(const CacheShape& shape) {
  return (shape.head_dim + kTileChannels - 1) / kTileChannels;
}

// One side of an append as its kernel gets it, with divisions prepared.
template <class Codec>
struct AppendSide {
  Codec codec;
  SideView view;
  PassRows rows;
  int side = 0;
  FastDiv lanes;  // of a row, eight channels each
  FastDiv heads;
  FastDiv page_tokens;
  FastDiv group_lanes;  // along channels
  FastDiv tiles;        // along tokens
  FastDiv wide_lanes;   // of a row, 32 channels each
  FastDiv group_wide;

  AppendSide(const Codec& codec_in, const SideView& view_in, const PassRows& rows_in, int side_in)
      : codec(codec_in),
        view(view_in),
        rows(rows_in),
        side(side_in),
        lanes(view.shape.head_dim / 8),
        heads(view.shape.kv_heads),
        page_tokens(view.shape.page_tokens),
        group_lanes(view.format.group < 8 ? 1 : view.format.group / 8),
        tiles(token_tiles(view.shape)),
        wide_lanes(view.shape.head_dim < 32 ? 1 : view.shape.head_dim / 32),
        group_wide(view.format.group < 32 ? 1 : view.format.group / 32) {}
};

// Tokens that sealing looks at: [first, sealed) are sealed now, and of [first, end) those of the
// pass are looked through for values that are not finite.
struct AppendRange {
  int32_t first, sealed, end;
  __device__ AppendRange(const SealRule& rule, const PassSpan& span, bool look) {
    first = rule.sealed(span.first);
    sealed = rule.sealed(span.first + span.count);
    end = look ? span.first + span.count : sealed;
  }
};

// First element of eight channels of a pass row.
__device__ inline int64_t pass_index(const SideView& view, const PassSpan& span, int32_t token,
                                     int head, int channel) {
  const int64_t row = int64_t{span.row} + (token - span.first);
  return (row * view.shape.kv_heads + head) * view.shape.head_dim + channel;
}

__device__ inline Eight load_halves(const uint16_t* from) {
  const uint4 w = __ldg(reinterpret_cast<const uint4*>(from));
  return {{w.x, w.y, w.z, w.w}};
}

__device__ inline Eight load_rounded(const float* from) {
  const float4 a = __ldg(reinterpret_cast<const float4*>(from));
  const float4 b = __ldg(reinterpret_cast<const float4*>(from) + 1);
  return {{f16_pair(a.x, a.y), f16_pair(a.z, a.w), f16_pair(b.x, b.y), f16_pair(b.z, b.w)}};
}

// Tokens token, token + step, ..., kCount of them, as far as `wanted` says; others are zeros. All
// loads of binary16 are under way before the first is used.
template <int kCount, class Wanted>
__device__ inline void load_tokens(const SideView& view, const PassRows& rows, const PassSpan& span,
                                   int head, int32_t token, int step, int channel, Wanted wanted,
                                   Eight (&x)[kCount]) {
  const int64_t first = pass_index(view, span, token, head, channel);
  const int64_t stride = int64_t{step} * view.shape.kv_heads * view.shape.head_dim;
  if (rows.type == ScalarType::kF16) {
    const uint16_t* from[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      from[i] = static_cast<const uint16_t*>(rows.data) + first + i * stride;
    if (token < span.first) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int32_t t = token + i * step;
        if (t < span.first && wanted(t)) from[i] = view.exact_row(span.slot, head, t) + channel;
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      x[i] = wanted(token + i * step) ? load_halves(from[i]) : Eight{};
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int32_t t = token + i * step;
    x[i] = Eight{};
    if (!wanted(t)) continue;
    x[i] = t < span.first ? load_halves(view.exact_row(span.slot, head, t) + channel)
                          : load_rounded(static_cast<const float*>(rows.data) + first + i * stride);
  }
}

// One value as the quantizer sees it.
__device__ inline uint16_t load_half(const SideView& view, const PassRows& rows,
                                     const PassSpan& span, int head, int32_t token, int channel) {
  if (token < span.first) return view.exact_row(span.slot, head, token)[channel];
  const int64_t at = pass_index(view, span, token, head, channel);
  return rows.type == ScalarType::kF16 ? static_cast<const uint16_t*>(rows.data)[at]
                                       : f16_encode(static_cast<const float*>(rows.data)[at]);
}

// What the key of a value of the pass is.
__device__ inline int64_t value_index(int side, const SideView& view, int64_t row, int head,
                                      int channel) {
  return ((row * 2 + side) * view.shape.kv_heads + head) * view.shape.head_dim + channel;
}

// Reports the first value of two that is not finite; `at` is the key of the first of them.
__device__ inline void report_pair(NonFiniteKey* key, int64_t at, uint32_t pair) {
  if (pair_finite(pair)) return;
  atomicMin(key, static_cast<NonFiniteKey>(at + (f16_finite(static_cast<uint16_t>(pair)) ? 1 : 0)));
}

// `which(i)` tells whether value i of eight is not finite; the first such one is reported.
template <class Which>
__device__ inline void report_non_finite(NonFiniteKey* key, int side, const SideView& view,
                                         int64_t row, int head, int channel, Which which) {
  for (int i = 0; i < 8; ++i) {
    if (!which(i)) continue;
    atomicMin(key, static_cast<NonFiniteKey>(value_index(side, view, row, head, channel + i)));
    return;
  }
}

// Looks through tokens of the pass as load_tokens gave them.
template <int kCount, class Wanted>
__device__ inline void look(NonFiniteKey* key, int side, const SideView& view, const PassSpan& span,
                            int head, int32_t token, int step, int channel, Wanted wanted,
                            const Eight (&x)[kCount]) {
  uint32_t seen = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) seen = max_magnitudes(seen, x[i]);
  if (pair_finite(seen)) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int32_t t = token + i * step;
    if (t >= span.first && wanted(t) && !pair_finite(max_magnitudes(0, x[i])))
      report_non_finite(key, side, view, int64_t{span.row} + (t - span.first), head, channel,
                        [&](int j) { return !f16_finite(x[i].bits(j)); });
  }
}

// Codes of kCount times eight values of one group, in pairs.
template <int kCount, class Codec>
__device__ inline void encode_eights(const Codec& codec, const Eight* x,
                                     const typename Codec::Group& group, uint32_t (*pair)[4]) {
  if constexpr (requires { codec.template encode<kCount>(x, group, pair); }) {
    codec.template encode<kCount>(x, group, pair);
  } else {
#pragma unroll
    for (int i = 0; i < 4 * kCount; ++i)
      pair[i / 4][i % 4] = codec.encode(x[i / 4].word[i % 4], group, group);
  }
}

template <class Group>
__device__ inline void store_meta(const SideView& view, int64_t at, const Group& group) {
  const SideFormat& f = view.format;
  if (f.scale_bytes != 0) store_pattern(view.scale, f.scale_bytes, at, group.scale);
  if (f.zero_bytes != 0) store_pattern(view.zero, f.zero_bytes, at, group.zero);
}

}  // namespace kvx::gpu
