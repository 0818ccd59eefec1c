// Fold of a query's parts by the blocks that made them, a cluster of one block a part (fixed.md,
// steps 11 and 12).
#pragma once

#include "gpu/fused/cluster_memory.cuh"
#include "gpu/fused/fold.cuh"

namespace kvx::gpu::fused {

inline constexpr int kMostShared = 8;  // parts of a cluster

// Of `parts` that hold rows, side_by_side a block at `part`, [part][query][PartShape]; block
// `block` of the cluster gives some channels out. Parts are segments of one span, or spans.
template <int kQueries>
__device__ inline void give_out_of_cluster(const KernelArgs& args, const PartShape& shape,
                                           const Limits& limits, int queries, const float* part,
                                           int block, int parts) {
  const int channels = shape.dim / shape.groups, threads = static_cast<int>(blockDim.x);
  const bool segments = args.part_rows == kSegmentRows, pairs = args.side_by_side == 2;
  const int blocks = pairs ? (parts + 1) / 2 : parts;
  sync_cluster();
  for (int at = block * threads + static_cast<int>(threadIdx.x); at < queries * shape.dim;
       at += blocks * threads) {
    const int query = at / shape.dim, channel = at - query * shape.dim;
    float m[kMostShared], x[3][kMostShared];
    const int sums[3] = {channel, shape.dim + channel / channels, shape.mass()};
#pragma unroll
    for (int i = 0; i < kMostShared; ++i) {
      if (i >= parts) continue;
      const float* const from = part + ((pairs ? i % 2 : 0) * kQueries + query) * shape.floats();
      const int there = pairs ? i / 2 : i;
      m[i] = load_remote(from + shape.maximum(), there);
#pragma unroll
      for (int s = 0; s < 3; ++s) x[s][i] = load_remote(from + sums[s], there);
    }
    float all[3];
#pragma unroll
    for (int s = 0; s < 3; ++s) {
      Sum sum;
#pragma unroll
      for (int i = 0; i < kMostShared; ++i)
        if (i < parts) sum.fold(__float_as_int(m[i]), x[s][i]);
      Sum of_spans;
      of_spans.fold(sum.m, sum.x);
      all[s] = segments ? of_spans.x : sum.x;
    }
    args.attend.out[limits.at[query] + channel] = finish(all[0], all[1], all[2]);
  }
  leave_cluster();
}

}  // namespace kvx::gpu::fused
