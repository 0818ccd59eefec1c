#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "gpu/cache/attend.h"
#include "gpu/common/check.h"
#include "gpu/common/shared_memory.cuh"
#include "gpu/common/successor.cuh"
#include "gpu/fused/attend.h"
#include "gpu/fused/launch.h"
#include "gpu/fused/prefill.h"

namespace kvx::gpu::fused {
namespace {

constexpr int kFoldThreads = 160;  // one sum each of a head of 128 channels
// Up to so many blocks of a span each most processors would be idle; from so many on, of all rows
// of their queries each, none is.
constexpr int64_t kFewBlocks = 66, kManyBlocks = 256;
// Prefill: query heads and tokens of a KV head from which on it is worth its tiles, and blocks that
// keep the device busy.
constexpr int64_t kPrefillFewest = 512, kPrefillBlocks = 100;

// Step 11 over the parts in scratch, and 12; a block has one query.
__global__ void __launch_bounds__(kFoldThreads)
    fold_parts(const __grid_constant__ KernelArgs args) {
  float* const folded = dynamic_shared<float>();
  wait_for_predecessors();
  let_successor_begin();
  const int query_tile = static_cast<int>(blockIdx.x) / args.queries;
  const int query = static_cast<int>(blockIdx.x) - query_tile * args.queries;
  const int head = static_cast<int>(blockIdx.y), span_index = static_cast<int>(blockIdx.z);
  const attention::QueryTile tile(args.attend, span_index, head, query_tile * args.queries,
                                  args.queries);
  if (query >= tile.count || tile.span.exact) return;
  const PartShape& shape = args.part;
  const int parts = tile.newest / args.part_rows + 1;
  const float* from = scratch_part(args, span_index, query_tile, head, query, 0);
  for (int i = static_cast<int>(threadIdx.x); i < shape.sums(); i += kFoldThreads) {
    Sum all;
    for (int first = 0; first < parts; first += kSpanSegments) {
      int m[kSpanSegments];
      float x[kSpanSegments];
#pragma unroll
      for (int p = 0; p < kSpanSegments; ++p) {
        const float* part = from + int64_t{min(first + p, parts - 1)} * shape.floats();
        m[p] = first + p < parts ? __float_as_int(part[shape.maximum()]) : kNoMaximum;
        x[p] = part[i];
      }
      Sum span;
#pragma unroll
      for (int p = 0; p < kSpanSegments; ++p)
        (args.part_rows == kSegmentRows ? span : all).fold(m[p], x[p]);
      all.fold(span.m, span.x);
    }
    folded[i] = all.x;
  }
  __syncthreads();
  float* const out = args.attend.out + tile.at(args.attend, query);
  for (int i = static_cast<int>(threadIdx.x); i < shape.dim; i += kFoldThreads)
    out[i] =
        finish(folded[i], folded[shape.dim + i / (shape.dim / shape.groups)], folded[shape.mass()]);
}

bool fast_side(const SideFormat& f, int dim, bool is_k) {
  if (f.bits != 2 && f.bits != 3 && f.bits != 4 && f.bits != 8) return false;
  if (!f.along_tokens) return f.group == 32 || f.group == 64 || f.group == 128;
  return is_k && (f.group == 32 || f.group == 64 || f.group % kTileRows == 0) && dim > 0;
}

bool is_prefill(FusedForm form) { return form >= FusedForm::kPrefillLong; }

// `one`: a block may have one query alone.
KernelArgs kernel_args(FusedForm form, const AttendArgs& attend, const SideFormat& v, bool one) {
  const CacheShape& shape = attend.view[0].shape;
  const int64_t queries =
      int64_t{attend.pass.max_count} * (attend.q_heads / std::max(shape.kv_heads, 1));
  KernelArgs args;
  args.attend = attend;
  args.scale = attention::scale(shape.head_dim);
  args.queries = is_prefill(form) ? kPrefillQueries : one && queries == 1 ? 1 : kBlockQueries;
  args.tiles = static_cast<int32_t>((queries + args.queries - 1) / args.queries);
  const bool short_parts = form == FusedForm::kShort || form == FusedForm::kPrefillShort;
  args.part_rows = short_parts ? kSegmentRows : kSpanRows;
  args.parts = form == FusedForm::kWhole
                   ? 0
                   : (attend.pass.max_length + args.part_rows - 1) / args.part_rows;
  if (form == FusedForm::kPrefillWhole) args.parts = 1, args.part_rows = kAllRows;
  args.part = {shape.head_dim, shape.head_dim / v.group};
  return args;
}

}  // namespace

int64_t most_clusters(const void* kernel, const SuccessorLaunch& launch) {
  static std::mutex mutex;
  static std::map<std::tuple<const void*, unsigned, unsigned, size_t>, int> known;
  const std::lock_guard lock(mutex);
  const auto [at, is_new] =
      known.try_emplace({kernel, launch.cluster, launch.block.x, launch.shared_bytes}, 0);
  if (is_new) {
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {launch.cluster, 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = launch.grid;
    config.blockDim = launch.block;
    config.dynamicSmemBytes = launch.shared_bytes;
    config.attrs = &cluster;
    config.numAttrs = 1;
    check(cudaOccupancyMaxActiveClusters(&at->second, kernel, &config), "clusters");
  }
  return at->second;
}

FusedForm fused_form(const Pass& bounds, const CacheShape& shape, int q_heads) {
  const int64_t queries = int64_t{bounds.max_count} * (q_heads / shape.kv_heads);
  const int64_t spans = (bounds.max_length + kSpanRows - 1) / kSpanRows;
  const auto blocks = [&](int of) {
    return (queries + of - 1) / of * shape.kv_heads * bounds.span_count;
  };
  if (queries >= kPrefillFewest && bounds.max_count > 1 && shape.head_dim == 128) {
    const int64_t whole = blocks(kPrefillQueries);
    if (whole >= kPrefillBlocks || bounds.max_length <= kSegmentRows)
      return FusedForm::kPrefillWhole;
    return whole * spans >= kPrefillBlocks ? FusedForm::kPrefillLong : FusedForm::kPrefillShort;
  }
  const int64_t whole = blocks(kBlockQueries);
  if (whole * spans <= kFewBlocks && bounds.max_length > kTileRows) return FusedForm::kShort;
  return spans <= 1 || whole >= kManyBlocks ? FusedForm::kWhole : FusedForm::kLong;
}

int64_t scratch_floats(FusedForm form, const Pass& bounds, const CacheShape& shape, int q_heads,
                       const SideFormat& v) {
  AttendArgs attend;
  attend.pass = bounds;
  attend.q_heads = q_heads;
  attend.view[0].shape = shape;
  if (form == FusedForm::kPrefillWhole) return int64_t{bounds.rows} * q_heads * shape.head_dim;
  const KernelArgs args = kernel_args(form, attend, v, false);
  return int64_t{bounds.span_count} * args.tiles * shape.kv_heads * args.queries * args.parts *
         args.part.floats();
}

void attend(FusedForm form, const AffineScheme& scheme, const AttendArgs& attend,
            cudaStream_t stream) {
  if (attend.pass.span_count == 0 || attend.pass.max_count == 0) return;
  const SideFormat &k = attend.view[0].format, &v = attend.view[1].format;
  const int dim = attend.view[0].shape.head_dim;
  const bool even = k.bits == v.bits;
  const bool affine =
      (dim == 64 || dim == 128) && fast_side(k, dim, true) && fast_side(v, dim, false);
  if (is_prefill(form) && !(affine && dim == 128)) form = FusedForm::kWhole;
  const bool fast = affine && (even || is_prefill(form) || (k.bits != 3 && v.bits != 3));
  KernelArgs args = kernel_args(form, attend, v, !fast || (even && has_one_query(dim / v.group)));
  args.scheme = scheme;
  bool folded = false;
  if (!fast) {
    folded = !launch_any(args, stream);
  } else {
    for (int side = 0; side < 2; ++side)
      args.side[side] = SideGeometry(attend.view[side].format, attend.view[side].shape, side == 0);
    if (is_prefill(form)) {
      (k.along_tokens ? prefill_128_tokens : prefill_128_channels)(args, stream);
      folded = form == FusedForm::kPrefillWhole;
    } else {
      const auto launch =
          dim == 64 ? (even ? launch_64 : launch_64_mixed) : (even ? launch_128 : launch_128_mixed);
      folded = !launch(args, stream);
    }
  }
  if (folded) return;
  // The processors keep the shares of shared memory that the other kernel asks for.
  check(cudaFuncSetAttribute(fold_parts, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "shared memory of fold_parts");
  launch_successor("fold_parts", fold_parts,
                   {.grid = dim3(static_cast<unsigned>(args.queries * args.tiles),
                                 static_cast<unsigned>(attend.view[0].shape.kv_heads),
                                 static_cast<unsigned>(attend.pass.span_count)),
                    .block = dim3(kFoldThreads),
                    .shared_bytes = sizeof(float) * static_cast<size_t>(args.part.sums()),
                    .stream = stream},
                   args);
}

}  // namespace kvx::gpu::fused
