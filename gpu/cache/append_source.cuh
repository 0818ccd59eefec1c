// Where sealing reads: rows of the pass, or of the ring for tokens older than the pass, in
// binary16.
#pragma once

#include "gpu/cache/append_math.cuh"
#include "gpu/cache/kernels.h"
#include "gpu/cache/layout.h"

namespace kvx::gpu {

inline constexpr int kAppendThreads = 256;

template <class Codec>
struct AppendSide {
  Codec codec;
  SideView view;
  PassRows rows;
  int side = 0;
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
// loads are under way before the first is used.
template <int kCount, class Wanted>
__device__ inline void load_tokens(const SideView& view, const PassRows& rows, const PassSpan& span,
                                   int head, int32_t token, int step, int channel, Wanted wanted,
                                   Eight (&x)[kCount]) {
  if (rows.type == ScalarType::kF16) {
    const uint16_t* from[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int32_t t = token + i * step;
      from[i] = static_cast<const uint16_t*>(rows.data) + pass_index(view, span, t, head, channel);
      if (t < span.first && wanted(t)) from[i] = view.exact_row(span.slot, head, t) + channel;
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
                          : load_rounded(static_cast<const float*>(rows.data) +
                                         pass_index(view, span, t, head, channel));
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

// `which(i)` tells whether value i of eight is not finite; the first such one is reported.
template <class Which>
__device__ inline void report_non_finite(NonFiniteKey* key, int side, const SideView& view,
                                         int64_t row, int head, int channel, Which which) {
  for (int i = 0; i < 8; ++i) {
    if (!which(i)) continue;
    const int64_t at = ((row * 2 + side) * view.shape.kv_heads + head) * view.shape.head_dim;
    atomicMin(key, static_cast<NonFiniteKey>(at + channel + i));
    return;
  }
}

__device__ inline void look(NonFiniteKey* key, int side, const SideView& view, const PassSpan& span,
                            int head, int32_t token, int channel, const Eight& x) {
  if (token < span.first || !has_non_finite(x)) return;
  report_non_finite(key, side, view, int64_t{span.row} + (token - span.first), head, channel,
                    [&](int i) { return !f16_finite(x.bits(i)); });
}

}  // namespace kvx::gpu
