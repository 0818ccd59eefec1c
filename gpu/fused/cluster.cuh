// Fold of a query's parts by the blocks that made them, a cluster of one block a part (fixed.md,
// steps 11 and 12).
#pragma once

#include "gpu/fused/cluster_memory.cuh"
#include "gpu/fused/fold.cuh"

namespace kvx::gpu::fused {

inline constexpr int kMostCluster = 8;

// Block `block` of `blocks` that have rows, each with its part at `part`, [query][PartShape]; each
// gives some channels out. Parts are segments of one span, or spans.
__device__ inline void give_out_of_cluster(const KernelArgs& args, const Limits& limits,
                                           int queries, const float* part, int block, int blocks) {
  const PartShape& shape = args.part;
  const int channels = shape.dim / shape.groups, threads = static_cast<int>(blockDim.x);
  const bool segments = args.part_rows == kSegmentRows;
  sync_cluster();
  for (int at = block * threads + static_cast<int>(threadIdx.x); at < queries * shape.dim;
       at += blocks * threads) {
    const int query = at / shape.dim, channel = at - query * shape.dim;
    const float* const from = part + query * shape.floats();
    float m[kMostCluster], x[3][kMostCluster];
    const int sums[3] = {channel, shape.dim + channel / channels, shape.mass()};
#pragma unroll
    for (int i = 0; i < kMostCluster; ++i) {
      if (i >= blocks) continue;
      m[i] = load_remote(from + shape.maximum(), i);
#pragma unroll
      for (int s = 0; s < 3; ++s) x[s][i] = load_remote(from + sums[s], i);
    }
    float all[3];
#pragma unroll
    for (int s = 0; s < 3; ++s) {
      Sum sum, query_sum;
#pragma unroll
      for (int i = 0; i < kMostCluster; ++i)
        if (i < blocks) sum.fold(__float_as_int(m[i]), x[s][i]);
      query_sum.fold(sum.m, sum.x);
      all[s] = segments ? query_sum.x : sum.x;
    }
    args.attend.out[limits.at[query] + channel] = finish(all[0], all[1], all[2]);
  }
  sync_cluster();
}

}  // namespace kvx::gpu::fused
