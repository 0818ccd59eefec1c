// The launch of a prefill kernel by its shape.
#pragma once

#include <algorithm>

#include "gpu/common/successor.cuh"
#include "gpu/fused/launch.h"
#include "gpu/fused/prefill.h"
#include "gpu/fused/prefill_kernel.cuh"

namespace kvx::gpu::fused {

inline PrefillPlan prefill_plan(const KernelArgs& args, int query_bytes) {
  PrefillPlan plan;
  int end = 0;
  const auto put = [&end](int64_t bytes) {
    const int at = end;
    constexpr int64_t kAlign = kPrefillAlign;
    end += static_cast<int>((bytes + kAlign - 1) / kAlign * kAlign);
    return at;
  };
  const int dim = args.part.dim;
  const int value_row = args.side[1].code_tile / kTileRows;
  plan.code_bytes[0] = args.side[0].code_tile;
  plan.code_bytes[1] = kTileRows / 4 * four_rows_bytes(value_row);
  plan.four_rows = 65536 / (value_row / 4) + 1;
  const int page_tiles = args.attend.view[0].shape.page_tokens / kTileRows;
  plan.page_tiles =
      static_cast<uint32_t>((uint64_t{1} << 32) / static_cast<unsigned>(page_tiles)) + 1;
  plan.block = put(sizeof(PrefillBlock));
  plan.levels = put(int64_t{2} * kPrefillQueries * sizeof(PrefillLevel));
  plan.limits = put(sizeof(Limits));
  plan.queries = plan.parts =
      put(std::max<int64_t>(query_bytes, int64_t{4} * kPrefillQueries * args.part.floats()));
  plan.plain = end;
  plan.keys = put(int64_t{kTileRows} * kColumnBytes);
  plan.values = put(int64_t{dim} * kColumnBytes);
  for (int side = 0; side < 2; ++side)
    plan.raw[side] = put(plan.code_bytes[side] + 2 * int64_t{args.side[side].meta_tile});
  for (int side = 0; side < 2; ++side)
    plan.numbers[side] = put(int64_t{4} * args.side[side].meta_tile);
  plan.bytes = std::max(end, plan.plain + static_cast<int>(sizeof(PlainMemory))) +
               static_cast<int>(kPrefillAlign);
  return plan;
}

template <int kDim, bool kAlongTokens, int kSets, int kGroups>
void launch_prefill(const KernelArgs& args, cudaStream_t stream) {
  const auto kernel = prefill_kernel<kDim, kAlongTokens, kSets, kGroups>;
  const PrefillPlan plan = prefill_plan(
      args, kPrefillWarps * static_cast<int>(kAlongTokens ? sizeof(WarpQueries<kDim>)
                                                          : sizeof(ChannelDigits<kDim, kSets>)));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "shared memory of prefill_kernel");
  launch_successor("prefill_kernel", kernel,
                   {.grid = dim3(static_cast<unsigned>(args.parts * args.tiles),
                                 static_cast<unsigned>(args.attend.view[0].shape.kv_heads),
                                 static_cast<unsigned>(args.attend.pass.span_count)),
                    .block = dim3(kPrefillThreads),
                    .shared_bytes = static_cast<size_t>(plan.bytes),
                    .stream = stream},
                   args, plan);
}

template <int kDim, bool kAlongTokens, int kSets>
void launch_prefill(const KernelArgs& args, cudaStream_t stream) {
  by_groups<kDim>(args, [&](auto groups) {
    launch_prefill<kDim, kAlongTokens, kSets, groups()>(args, stream);
  });
}

}  // namespace kvx::gpu::fused
