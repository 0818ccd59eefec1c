// Storing values of a float format: no groups, no metadata; a value's bits are its code.
#pragma once

#include <algorithm>

#include "gpu/cache/append_channels.cuh"
#include "gpu/cache/rows.cuh"
#include "gpu/common/check.h"

namespace kvx::gpu {

// Codec::encode gives the pattern, Codec::finite tells whether it is a finite number.
template <class Codec>
__global__ void __launch_bounds__(kAppendThreads)
    append_values_kernel(const __grid_constant__ AppendPlan<Codec> plan) {
  const AppendSide<Codec>& s = plan.side[blockIdx.z];
  const SideView& view = s.view;
  const CacheShape& shape = view.shape;
  const PassSpan span = plan.spans[blockIdx.y];
  const int32_t end = span.first + span.count;
  const RowLane at(s, span.first);
  if (at.warp_first >= end || !at.used) return;

  float x[kRowsPerLane][8] = {};
#pragma unroll
  for (int i = 0; i < kRowsPerLane; ++i) {
    const int32_t token = at.first + i * at.step;
    if (token < end)
      load_pass8(s.rows, shape, int64_t{span.row} + (token - span.first), at.head, at.channel,
                 x[i]);
  }
  const int bits = view.format.bits;
  const int64_t row_bytes = view.format.row_bytes(shape.head_dim);
  PageCursor cursor(s, span.slot, at.first);
#pragma unroll
  for (int i = 0; i < kRowsPerLane; ++i) {
    if (i > 0) cursor.advance(at.step, shape.page_tokens);
    const int32_t token = at.first + i * at.step;
    if (token >= end) continue;
    uint32_t code[8];
    bool finite = true;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      code[j] = s.codec.encode(x[i][j]);
      finite = finite && s.codec.finite(code[j]);
    }
    if (plan.non_finite != nullptr && !finite)
      report_non_finite(plan.non_finite, s.side, view, int64_t{span.row} + (token - span.first),
                        at.head, at.channel, [&](int j) { return !s.codec.finite(code[j]); });
    const int64_t page = cursor.index(shape, at.head);
    uint4* const to = reinterpret_cast<uint4*>(
        view.codes + (page * shape.page_tokens + cursor.in) * row_bytes + at.channel / 8 * bits);
    if (bits == 16) {
      *to = {code[0] | code[1] << 16, code[2] | code[3] << 16, code[4] | code[5] << 16,
             code[6] | code[7] << 16};
    } else {
      to[0] = {code[0], code[1], code[2], code[3]};
      to[1] = {code[4], code[5], code[6], code[7]};
    }
  }
}

template <class Codec>
void append_values(const Codec& k, const Codec& v, const AppendArgs& args, cudaStream_t stream) {
  if (args.pass.span_count == 0 || args.pass.rows == 0) return;
  const AppendPlan<Codec> plan{{{k, args.view[0], args.k, 0}, {v, args.view[1], args.v, 1}},
                               args.pass.spans,
                               args.non_finite};
  const CacheShape& shape = args.view[0].shape;
  const int64_t at_once = int64_t{kRowsPerLane} * (32 / (shape.head_dim / 8));
  const int64_t warps = (args.pass.max_count + at_once - 1) / at_once * shape.kv_heads;
  constexpr int kWarps = kAppendThreads / 32;
  const dim3 grid(static_cast<unsigned>((warps + kWarps - 1) / kWarps),
                  static_cast<unsigned>(args.pass.span_count), 2);
  append_values_kernel<<<grid, kAppendThreads, 0, stream>>>(plan);
  check_launch("append");
}

}  // namespace kvx::gpu
