// A block's shared memory, in bytes from its begin.
#pragma once

#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

struct SharedPlan {
  int total = 0;                // [query][PartShape], of blocks that take all rows
  int result = 0;               // [part of the block][query][PartShape]
  int units = 0;                // [part][query] TileUnits
  int weights = 0;              // [part of the block][part of that][query] PartWeight
  int queries = 0;              // QueryMemory
  int digits = 0, factors = 0;  // of the query, along channels: the same for all warps
  int warps = 0;                // of which each has from here on
  int warp_bytes = 0;
  int scores = 0, warp_digits = 0, warp_factors = 0, spread = 0, barriers = 0;  // in a warp's
  int parts = 0, part_stride = 0;  // [segment or tile][query][PartShape]
  int ring = 0;  // the warps' slots, a stage of a tile each; PlainMemory once they are empty
  int slot_bytes = 0;
  int warp_count = 0;
  int bytes = 0;
};

// Of a block, at most. Kernels are allowed so much whatever they ask for: what a kernel is allowed
// is one number for all threads that launch it.
inline constexpr int kSharedBytes = 226 << 10;

// The plan of kernels with a fast path, whose warps have `depth` slots each: kWarps, or where there
// is no room for so many half of them. No warps: does not fit.
SharedPlan plan_fast(const KernelArgs& args, int queries, int depth);
// That of the kernel without.
SharedPlan plan_plain(const KernelArgs& args);

}  // namespace kvx::gpu::fused
