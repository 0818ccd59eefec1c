// Sealing with ranges of tokens: a team takes one token of all KV heads, finds its outliers and its
// range, makes the bounds of its codes and counts them.
#pragma once

#include "gpu/cache/kernels.h"
#include "gpu/common/check.h"
#include "gpu/kvquant/seal.cuh"
#include "gpu/kvquant/select.cuh"

namespace kvx::gpu::kvquant {

inline constexpr int kTokenThreads = 128;  // of a block whose warps take a token each
inline constexpr int kWarpOctets = 4;      // of a thread, at most, where a warp is a team

// The first number of each code, in the lanes of a warp: lane j has bound j.
__device__ inline uint32_t make_bounds(const Codec& codec, Scale scale) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool nothing = !codec.integer && scale.b == 0.0f;
  if (lane > 1 << codec.bits || nothing) return kNever;
  return first_at(codec.integer, __ldg(codec.positions + lane), scale);
}

// Marks as all-ones halves.
__device__ inline uint32_t mask_of(uint32_t marks, int pair) {
  const uint32_t two = marks >> (2 * pair);
  return (two & 1u) * 0xFFFFu | (two >> 1 & 1u) * 0xFFFF0000u;
}

template <bool kBlock, int kOctets>
__device__ inline Selection<kOctets> select(const Team<kBlock>& team, const Codec& codec,
                                            const Orders<kOctets>& x, uint32_t count) {
  const Orders<kOctets> flipped = x.flipped();
  const auto m = static_cast<uint32_t>(codec.per_side);
  if (m == 0) {
    Selection<kOctets> s;
    s.hi = team.max(x.greatest());
    s.lo = flip(team.max(flipped.greatest()));
    return s;
  }
  return codec.paper ? select_by_rank(team, x, flipped, m)
                     : select_by_value(team, x, flipped, count, m);
}

template <int kBits, bool kBlock, int kOctets>
__global__ void __launch_bounds__(kBlock ? 32 * kMostWarps : kTokenThreads, kBlock ? 1 : 4)
    seal_tokens_kernel(const __grid_constant__ SealSide s, const PassSpan* spans,
                       NonFiniteKey* non_finite) {
  constexpr int kBounds = 1 << kBits;
  __shared__ uint32_t shared[kMostWarps];
  const Team<kBlock> team(shared);
  const PassSpan span = spans[blockIdx.y];
  const int32_t in_span = kBlock
                              ? static_cast<int32_t>(blockIdx.x)
                              : static_cast<int32_t>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  if (in_span >= span.count) return;
  const int32_t token = span.first + in_span;
  const SideView& view = s.view;
  const Codec& codec = s.codec;
  const int width = s.width(), dim = view.shape.head_dim;
  const int64_t row_at = int64_t{span.row + in_span} * width;
  const auto channel_of = [&](int o) { return (team.index() + o * team.size()) * 8; };
  const auto head_of = [&](int channel) { return s.octets.quotient(channel / 8); };

  Eight x[kOctets];
  Orders<kOctets> orders;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int channel = channel_of(o);
    const bool here = channel < width;
    x[o] = here ? load_row8(s, row_at + channel) : Eight{};
#pragma unroll
    for (int i = 0; i < 4; ++i) orders.word[o][i] = here ? orders_of(x[o].word[i]) : 0u;
  }
#pragma unroll
  for (int o = 0; o < kOctets; ++o) look8(non_finite, s, row_at + channel_of(o), x[o]);
  if (token < view.format.rule.sink) {
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int channel = channel_of(o), head = head_of(channel);
      if (channel < width) keep8(s, span.slot, head, token, channel - head * dim, row_at + channel);
    }
    return;
  }

  const Selection<kOctets> selection = select(team, codec, orders, static_cast<uint32_t>(width));
  const uint16_t lo = stored_of(selection.lo), hi = stored_of(selection.hi);
  const Scale scale = codec.token_scale(lo, hi);
  const uint32_t mine = make_bounds(codec, scale) * 0x10001u;
  uint32_t bound[kBounds + 1];
#pragma unroll
  for (int j = 0; j <= kBounds; ++j) bound[j] = __shfl_sync(~0u, mine, j);

  const bool repo_outliers = codec.per_side > 0 && !codec.paper;
  const bool seeks = !codec.integer && (codec.seeks || (codec.per_side > 0 && codec.paper));
  const bool quad = s.octets.divisor % 4 == 0;
  const int64_t row_bytes = view.format.row_bytes(dim);
  const TokenRows place(s, span.slot, token);
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int channel = channel_of(o);
    if (channel >= width) continue;
    const uint32_t marks = selection.marks[o];
    const auto of_token = [&](int) { return scale; };
    Eight coded = x[o];
    if (repo_outliers && codec.integer) {
#pragma unroll
      for (int i = 0; i < 4; ++i) coded.word[i] &= ~mask_of(marks, i);
    }
    uint32_t codes = count_codes<kBits>(coded, [&](int j, int) { return bound[j]; });
    if (seeks) {
      uint32_t far[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        far[i] = below_mask(x[o].word[i], bound[0]) | at_least_mask(x[o].word[i], bound[kBounds]);
      look_up_codes<kBits>(codec, x[o], byte_of(far), of_token, codes);
    }
    if (repo_outliers && !codec.integer) hide_outliers<kBits>(codec, marks, of_token, codes);

    const int head = head_of(channel), in_head = channel - head * dim;
    const int64_t row = place.first + head * place.stride;
    store_codes<kBits>(view.codes + row * row_bytes + in_head / 8 * kBits, codes, quad);
    if (codec.per_side > 0) store_outliers(view, row, in_head, x[o], marks);
    if (in_head == 0) {
      reinterpret_cast<uint16_t*>(view.scale)[row] = lo;
      reinterpret_cast<uint16_t*>(view.zero)[row] = hi;
    }
  }
}

template <int kBits>
void seal_tokens(const SealSide& s, const Pass& pass, NonFiniteKey* non_finite,
                 cudaStream_t stream) {
  const int octets = s.view.shape.kv_heads * s.view.shape.head_dim / 8;
  const auto launch = [&](auto kernel, int tokens, int threads) {
    const dim3 blocks(static_cast<unsigned>((pass.max_count + tokens - 1) / tokens),
                      static_cast<unsigned>(pass.span_count));
    kernel<<<blocks, threads, 0, stream>>>(s, pass.spans, non_finite);
  };
  constexpr int kWarps = kTokenThreads / 32;
  if (octets <= 32) {
    launch(seal_tokens_kernel<kBits, false, 1>, kWarps, kTokenThreads);
  } else if (octets <= 64) {
    launch(seal_tokens_kernel<kBits, false, 2>, kWarps, kTokenThreads);
  } else if (octets <= 32 * kWarpOctets) {
    launch(seal_tokens_kernel<kBits, false, kWarpOctets>, kWarps, kTokenThreads);
  } else {
    // Up to 65536 channels.
    const int each = octets <= 4096 ? 4 : 8;
    const int threads = (octets + 32 * each - 1) / (32 * each) * 32;
    launch(each == 4 ? seal_tokens_kernel<kBits, true, 4> : seal_tokens_kernel<kBits, true, 8>, 1,
           threads);
  }
  check_launch("seal_tokens");
}

inline void seal_tokens(const SealSide& s, const Pass& pass, NonFiniteKey* non_finite,
                        cudaStream_t stream) {
  if (s.codec.bits == 2) seal_tokens<2>(s, pass, non_finite, stream);
  if (s.codec.bits == 3) seal_tokens<3>(s, pass, non_finite, stream);
  if (s.codec.bits == 4) seal_tokens<4>(s, pass, non_finite, stream);
}

}  // namespace kvx::gpu::kvquant
