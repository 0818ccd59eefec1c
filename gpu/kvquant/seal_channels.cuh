// Sealing with calibrated ranges of channels: a thread takes eight channels, whose bounds it holds,
// of one token after another.
#pragma once

#include <algorithm>

#include "gpu/cache/kernels.h"
#include "gpu/common/check.h"
#include "gpu/kvquant/seal.cuh"

namespace kvx::gpu::kvquant {

inline constexpr int kChannelThreads = 128;
inline constexpr int kTokensAtOnce = 4;  // whose loads are under way together

// Threads of a block: `lanes` of eight channels each, of as many tokens as there is room for.
struct ChannelGrid {
  int lanes;
  int32_t tokens;  // of a thread
};

// Four pairs of row j of the bounds.
__device__ inline Eight load_bounds(const Codec& codec, int j, int width, int channel) {
  return load_halves(codec.bounds + int64_t{j} * width + channel);
}

// Codes that bounds do not give: of values `outside` their ranges, and of all values where they are
// looked for in the codebook.
template <int kBits>
__device__ inline void seal_odd(const Codec& codec, const Eight& x, uint32_t outside, int width,
                                int channel, uint32_t& codes) {
  if (codec.integer) return;
  const auto scale = [&](int i) { return codec.channel_scale(channel + i); };
  const bool hides = codec.per_side > 0 && !codec.paper;
  if (codec.seeks) {
    look_up_codes<kBits>(codec, x, 0xFFu, scale, codes);
  } else if (!hides) {
    const Eight first = load_bounds(codec, 0, width, channel);
    const Eight last = load_bounds(codec, 1 << kBits, width, channel);
    uint32_t far[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      far[i] = below_mask(x.word[i], first.word[i]) | at_least_mask(x.word[i], last.word[i]) |
               at_least_mask(x.word[i] & 0x7FFF7FFFu, 0x7C007C00u);
    look_up_codes<kBits>(codec, x, byte_of(far), scale, codes);
  }
  if (hides) hide_outliers<kBits>(codec, outside, scale, codes);
}

template <int kBits>
__global__ void __launch_bounds__(kChannelThreads, kBits == 2 ? 6 : 4)
    seal_channels_kernel(const __grid_constant__ SealSide s, const PassSpan* spans,
                         NonFiniteKey* non_finite, ChannelGrid grid) {
  constexpr int kBounds = (1 << kBits) - 1;
  const PassSpan span = spans[blockIdx.y];
  const SideView& view = s.view;
  const int width = s.width(), thread = static_cast<int>(threadIdx.x);
  const int row_lane = thread / grid.lanes, rows = kChannelThreads / grid.lanes;
  const int octet = static_cast<int>(blockIdx.z) * grid.lanes + thread % grid.lanes;
  const int channel = octet * 8;
  if (row_lane >= rows || channel >= width) return;
  const int head = s.octets.quotient(octet), in_head = s.octets.remainder(octet, head) * 8;
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * grid.tokens * rows + row_lane;
  const int32_t end = min(span.count, (static_cast<int32_t>(blockIdx.x) + 1) * grid.tokens * rows);
  if (begin >= end) return;

  Eight bound[kBounds];
#pragma unroll
  for (int j = 0; j < kBounds; ++j) bound[j] = load_bounds(s.codec, j + 1, width, channel);
  const Eight lo = load_bounds(s.codec, (1 << kBits) + 1, width, channel);
  const Eight hi = load_bounds(s.codec, (1 << kBits) + 2, width, channel);
  // Integers of outliers are those of 0 in profile repo.
  const bool hides = s.codec.integer && !s.codec.paper && s.codec.per_side > 0;
  const bool quad = s.octets.divisor % 4 == 0 && grid.lanes % 4 == 0;
  const int row_bytes = static_cast<int>(view.format.row_bytes(view.shape.head_dim));

  for (int32_t from = begin; from < end; from += kTokensAtOnce * rows) {
    Eight x[kTokensAtOnce];
#pragma unroll
    for (int i = 0; i < kTokensAtOnce; ++i) {
      const int32_t in_span = from + i * rows;
      if (in_span < end) x[i] = load_row8(s, int64_t{span.row + in_span} * width + channel);
    }
#pragma unroll
    for (int i = 0; i < kTokensAtOnce; ++i) {
      const int32_t in_span = from + i * rows, token = span.first + in_span;
      if (in_span >= end) break;
      const int64_t at = int64_t{span.row + in_span} * width + channel;
      look8(non_finite, s, at, x[i]);
      if (token < view.format.rule.sink) {
        keep8(s, span.slot, head, token, in_head, at);
        continue;
      }
      uint32_t mask[4];
#pragma unroll
      for (int p = 0; p < 4; ++p)
        mask[p] = below_mask(x[i].word[p], lo.word[p]) | below_mask(hi.word[p], x[i].word[p]);
      Eight coded = x[i];
#pragma unroll
      for (int p = 0; p < 4; ++p)
        if (hides) coded.word[p] &= ~mask[p];
      uint32_t codes =
          count_codes<kBits>(coded, [&](int j, int p) { return bound[j - 1].word[p]; });
      const bool any = (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
      const uint32_t outside = any ? byte_of(mask) : 0u;
      if (any || s.codec.seeks) seal_odd<kBits>(s.codec, x[i], outside, width, channel, codes);
      const TokenRows place(s, span.slot, token);
      const int64_t row = place.first + head * place.stride;
      store_codes<kBits>(view.codes + row * row_bytes + in_head / 8 * kBits, codes, quad);
      if (s.codec.per_side > 0) store_outliers(view, row, in_head, x[i], outside);
    }
  }
}

inline void seal_channels(const SealSide& s, const Pass& pass, NonFiniteKey* non_finite,
                          cudaStream_t stream) {
  const int octets = s.view.shape.kv_heads * s.view.shape.head_dim / 8;
  const int lanes = std::min(octets, kChannelThreads);
  const int rows = kChannelThreads / lanes;
  // A thread pays for its bounds with the tokens that it takes; short passes need all threads.
  const int32_t tokens =
      std::clamp(pass.max_count / (512 * rows) / kTokensAtOnce, 1, 16) * kTokensAtOnce;
  const ChannelGrid grid{lanes, tokens};
  const dim3 blocks(static_cast<unsigned>((pass.max_count + tokens * rows - 1) / (tokens * rows)),
                    static_cast<unsigned>(pass.span_count),
                    static_cast<unsigned>((octets + lanes - 1) / lanes));
  const auto launch = [&](auto kernel) {
    kernel<<<blocks, kChannelThreads, 0, stream>>>(s, pass.spans, non_finite, grid);
  };
  if (s.codec.bits == 2) launch(seal_channels_kernel<2>);
  if (s.codec.bits == 3) launch(seal_channels_kernel<3>);
  if (s.codec.bits == 4) launch(seal_channels_kernel<4>);
  check_launch("seal_channels");
}

}  // namespace kvx::gpu::kvquant
