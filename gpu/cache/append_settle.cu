#include <algorithm>

#include "gpu/cache/append_settle.cuh"
#include "gpu/cache/append_source.cuh"
#include "gpu/common/check.h"

namespace kvx::gpu {
namespace {

constexpr int kThreads = 256;

// Blocks (x) over rows and eight channels each, spans (y), sides (z).
__global__ void settle_kernel(const __grid_constant__ AppendArgs args) {
  const SideView& view = args.view[blockIdx.z];
  const PassRows& rows = blockIdx.z == 0 ? args.k : args.v;
  const PassSpan span = args.pass.spans[blockIdx.y];
  const CacheShape& shape = view.shape;
  const int32_t kept = min(span.count, view.format.rule.ring_rows());
  const int lanes = shape.head_dim / 8;
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = at / lanes;
  if (row >= int64_t{kept} * shape.kv_heads) return;
  const int head = static_cast<int>(row % shape.kv_heads);
  const int channel = static_cast<int>(at % lanes) * 8;
  const int32_t token = span.first + span.count - kept + static_cast<int32_t>(row / shape.kv_heads);
  const int64_t from = pass_index(view, span, token, head, channel);
  uint4* const to = reinterpret_cast<uint4*>(view.exact_row(span.slot, head, token) + channel);
  if (rows.type == ScalarType::kF16) {
    *to = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(rows.data) + from);
    return;
  }
  const float* const x = static_cast<const float*>(rows.data) + from;
  uint32_t word[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    word[i] = f16_encode(x[2 * i]) | static_cast<uint32_t>(f16_encode(x[2 * i + 1])) << 16;
  *to = {word[0], word[1], word[2], word[3]};
}

}  // namespace

void settle(const AppendArgs& args, cudaStream_t stream) {
  int64_t chunks = 0;
  for (const SideView& view : args.view) {
    const int64_t kept = std::min(args.pass.max_count, view.format.rule.ring_rows());
    chunks = std::max(chunks, kept * view.shape.kv_heads * (view.shape.head_dim / 8));
  }
  if (chunks == 0 || args.pass.span_count == 0) return;
  const dim3 grid(static_cast<unsigned>((chunks + kThreads - 1) / kThreads),
                  static_cast<unsigned>(args.pass.span_count), 2);
  settle_kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("settle");
}

}  // namespace kvx::gpu
