// A block's shared memory, in bytes from its begin.
#pragma once

#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

struct SharedPlan {
  int total = 0, result = 0;    // [query][PartShape]; `total`: of blocks that take all rows
  int units = 0;                // [part][query] TileUnits
  int queries = 0;              // QueryMemory
  int digits = 0, factors = 0;  // of the query, along channels: the same for all warps
  int warps = 0;                // of which each has from here on
  int warp_bytes = 0;
  int scores = 0, warp_digits = 0, warp_factors = 0, spread = 0;  // in a warp's
  int parts = 0, part_stride = 0;  // [segment or tile][query][PartShape]
  int ring = 0;  // the warps' slots, a stage of a tile each; PlainMemory once they are empty
  int slot_bytes = 0, depth = 0;
  int warp_count = 0;
  int bytes = 0;
};

// The plan of kernels with a fast path: as many slots a warp as fit, and half of the warps where
// there is no room for one each. `alone`: blocks need not share a processor.
SharedPlan plan_fast(const KernelArgs& args, int queries, bool alone);
// That of the kernel without.
SharedPlan plan_plain(const KernelArgs& args);

}  // namespace kvx::gpu::fused
