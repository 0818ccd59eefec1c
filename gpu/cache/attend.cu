#include <algorithm>

#include "gpu/cache/attend.h"
#include "gpu/common/check.h"
#include "gpu/common/ieee.cuh"

namespace kvx::gpu {

namespace {

// Up to so many queries of a KV head in a span, the form `split` reads the cache less often than
// `walk` wastes places of its tiles.
constexpr int64_t kSplitQueries = 32;

constexpr int kFoldSegments = 128;  // whose factors are made at a time

// A block has one query, a thread one channel.
__global__ void fold_kernel(const __grid_constant__ AttendArgs args) {
  __shared__ float old_factor[kFoldSegments], new_factor[kFoldSegments], sum[kFoldSegments];
  const int head = static_cast<int>(blockIdx.x), token = static_cast<int>(blockIdx.y);
  const int span_index = static_cast<int>(blockIdx.z), thread = static_cast<int>(threadIdx.x);
  const PassSpan span = args.pass.spans[span_index];
  if (token >= span.count) return;
  const int dim = args.view[0].shape.head_dim;
  const int segments = (span.first + token) / kSegment + 1;
  const attention::SplitScratch scratch(args.pass, args.q_heads, dim, args.scratch);
  const float* values = scratch.values(span_index, token, head, 0) + thread;
  const float* sums = scratch.sums(span_index, token, head, 0);

  float top = __uint_as_float(0xFF800000u), mass = 0.0f, out = 0.0f;
  for (int g0 = 0; g0 < segments; g0 += kFoldSegments) {
    const int count = min(kFoldSegments, segments - g0);
    __syncthreads();
    if (thread < 32) {
      for (int g = 0; g < count; g += 32) {
        const bool there = g + thread < count;
        const float m = there ? sums[(g0 + g + thread) * 2] : __uint_as_float(0xFF800000u);
        float greatest = m;  // of this and all earlier segments
        for (int h = 1; h < 32; h *= 2) {
          const float below = __shfl_up_sync(~0u, greatest, h);
          if (thread >= h) greatest = max_nan(greatest, below);
        }
        greatest = max_nan(greatest, top);
        float before = __shfl_up_sync(~0u, greatest, 1);
        if (thread == 0) before = top;
        if (there) {
          old_factor[g + thread] = exp2_ieee(__fsub_rn(before, greatest));
          new_factor[g + thread] = exp2_ieee(__fsub_rn(m, greatest));
          sum[g + thread] = sums[(g0 + g + thread) * 2 + 1];
        }
        top = __shfl_sync(~0u, greatest, 31);
      }
    }
    __syncthreads();
#pragma unroll 8
    for (int g = 0; g < count; ++g) {
      const float a = old_factor[g], b = new_factor[g];
      mass = __fmaf_rn(sum[g], b, __fmul_rn(mass, a));
      if (thread < dim) out = __fmaf_rn(values[int64_t{g0 + g} * dim], b, __fmul_rn(out, a));
    }
  }
  if (thread >= dim) return;
  const int64_t row = int64_t{span.row} + token;
  args.out[(row * args.q_heads + head) * dim + thread] = __fadd_rn(__fdiv_rn(out, mass), 0.0f);
}

}  // namespace

AttendForm attend_form(const Pass& bounds, const CacheShape& shape, int q_heads) {
  const int64_t queries = int64_t{bounds.max_count} * (q_heads / shape.kv_heads);
  return queries <= kSplitQueries ? AttendForm::kSplit : AttendForm::kWalk;
}

int64_t attend_scratch_floats(AttendForm form, const Pass& bounds, const CacheShape& shape,
                              int q_heads) {
  if (form == AttendForm::kWalk) return 0;
  return attention::SplitScratch(bounds, q_heads, shape.head_dim, nullptr).floats();
}

int64_t attend_scratch_floats(const Pass& bounds, const CacheShape& shape, int q_heads) {
  return attend_scratch_floats(attend_form(bounds, shape, q_heads), bounds, shape, q_heads);
}

namespace attention {

void fold(const AttendArgs& args, cudaStream_t stream) {
  const int dim = args.view[0].shape.head_dim;
  const dim3 grid(static_cast<unsigned>(args.q_heads), static_cast<unsigned>(args.pass.max_count),
                  static_cast<unsigned>(args.pass.span_count));
  fold_kernel<<<grid, static_cast<unsigned>((dim + 31) / 32 * 32), 0, stream>>>(args);
  check_launch("fold_kernel");
}

}  // namespace attention
}  // namespace kvx::gpu
