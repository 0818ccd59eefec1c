#include <algorithm>

#include "gpu/fused/plain_tile.cuh"
#include "gpu/fused/plan.h"
#include "gpu/fused/segment_warp.cuh"

namespace kvx::gpu::fused {
namespace {

class Layout {
 public:
  int put(int64_t bytes) {
    const int at = at_;
    at_ += static_cast<int>((bytes + 127) / 128 * 128);
    return at;
  }
  int size() const { return at_; }

 private:
  int at_ = 0;
};

SharedPlan plan(const KernelArgs& args, int queries, int warps, int depth) {
  const bool along_tokens = args.attend.view[0].format.along_tokens;
  const int dim = args.part.dim, groups = args.part.groups, sets = args.side[0].sets;
  SharedPlan plan;
  Layout block, warp;
  plan.warp_count = warps;
  const int part_bytes = 4 * queries * args.part.floats();
  plan.total = block.put(args.parts == 0 ? part_bytes : 0);
  plan.result = block.put(int64_t{args.side_by_side} * part_bytes);
  plan.units = block.put(int64_t{kFolded} * queries * sizeof(TileUnits));
  plan.weights = block.put(int64_t{args.side_by_side} * kFolded * queries * sizeof(PartWeight));
  plan.queries = block.put(int64_t{8} * queries * dim);
  plan.digits = block.put(along_tokens ? 0 : digit_bytes(queries));
  plan.factors = block.put(along_tokens ? 0 : int64_t{sets} * queries * sizeof(KeyFactor));

  plan.scores = warp.put(int64_t{4} * queries * kScorePitch);
  // Digits of the query are read before those of the weights are written.
  plan.warp_digits =
      warp.put(int64_t{digit_bytes(queries)} * std::max(along_tokens ? sets : 0, groups));
  plan.warp_factors = warp.put(along_tokens ? int64_t{sets} * queries * sizeof(KeyFactor) : 0);
  plan.spread = warp.put(args.attend.view[1].format.bits == 3 ? 32 * (dim / 2 + 16) : 0);
  plan.barriers = warp.put(kMostSlots * sizeof(CopyBarrier));
  plan.warp_bytes = warp.size();
  plan.warps = block.put(int64_t{warps} * plan.warp_bytes);
  // A warp with one part leaves it where its scores were.
  if (warps == args.side_by_side * kSpanSegments && part_bytes <= plan.warp_digits) {
    plan.parts = plan.warps + plan.scores, plan.part_stride = plan.warp_bytes;
  } else {
    plan.part_stride = (part_bytes + 15) / 16 * 16;
    plan.parts = block.put(int64_t{args.side_by_side} * kSpanSegments * plan.part_stride);
  }
  plan.ring = block.size();
  plan.slot_bytes =
      (std::max(args.side[0].stage_bytes(), args.side[1].stage_bytes()) + 127) / 128 * 128;
  plan.bytes = plan.ring + std::max<int>(depth * warps * plan.slot_bytes, sizeof(PlainMemory));
  return plan;
}

}  // namespace

SharedPlan plan_fast(const KernelArgs& args, int queries, int depth) {
  for (const int warps : {kWarps, kWarps / 2}) {
    const SharedPlan fits = plan(args, queries, warps, depth);
    if (fits.bytes <= kSharedBytes) return fits;
  }
  return {};
}

SharedPlan plan_plain(const KernelArgs& args) {
  SharedPlan plan;
  Layout block;
  plan.warp_count = kWarps;
  plan.part_stride = 4 * kBlockQueries * args.part.floats();
  plan.total = block.put(plan.part_stride);
  plan.result = block.put(plan.part_stride);
  plan.units = block.put(int64_t{kFolded} * kBlockQueries * sizeof(TileUnits));
  plan.weights = block.put(int64_t{kFolded} * kBlockQueries * sizeof(PartWeight));
  plan.queries = block.put(0);
  plan.parts = block.put(int64_t{kSpanSegments} * plan.part_stride);
  plan.ring = block.put(sizeof(PlainMemory));
  plan.bytes = block.size();
  return plan;
}

}  // namespace kvx::gpu::fused
