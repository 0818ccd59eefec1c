// What the queries of a tile read, segment by segment: the part of attention that both launch forms
// share.
#pragma once

#include <limits>

#include "gpu/cache/kernels.h"
#include "gpu/cache/rows.cuh"

namespace kvx::gpu::attention {

inline constexpr int kThreads = 256;       // of a block; a row of a segment each
inline constexpr int kWarpQueries = 8;     // queries whose numbers a warp holds side by side
inline constexpr int kStageFloats = 4096;  // of K or V decoded at a time
inline constexpr int kMaxDim = 256;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Rows below the boundary of a query are read sealed, the others exactly.
__device__ inline int32_t boundary(const SideView& view, const PassSpan& span, Reads reads,
                                   int32_t position) {
  if (span.exact) return 0;
  return reads == Reads::kAll ? view.format.rule.sealed(span.first + span.count)
                              : view.format.rule.read_sealed(position);
}

// Queries of one KV head in one span, numbered token by token, in a token head by head of the
// group.
struct QueryTile {
  PassSpan span;
  int head = 0;        // of K and V
  int group = 1;       // query heads that share it
  int32_t first = 0;   // number of the tile's first query
  int32_t count = 0;   // of queries; none: nothing to do
  int32_t newest = 0;  // position of its last query

  __device__ QueryTile(const AttendArgs& args, int span_index, int kv_head, int32_t first_query,
                       int queries)
      : span(args.pass.spans[span_index]),
        head(kv_head),
        group(args.q_heads / args.view[0].shape.kv_heads),
        first(first_query) {
    count = min(queries, span.count * group - first);
    if (count > 0) newest = position(count - 1);
  }
  __device__ int32_t token(int i) const { return (first + i) / group; }
  __device__ int32_t position(int i) const { return span.first + token(i); }
  // Of the query's q and out, in rows of one head.
  __device__ int32_t place(const AttendArgs& args, int i) const {
    return (span.row + token(i)) * args.q_heads + head * group + (first + i) % group;
  }
  // The same in elements.
  __device__ int64_t at(const AttendArgs& args, int i) const {
    return int64_t{place(args, i)} * args.view[0].shape.head_dim;
  }
};

// Per query of a tile: its position and boundaries; a query that the tile lacks sees no row.
template <int kQueries>
struct QueryLimits {
  int32_t position[kQueries];
  int32_t boundary[2][kQueries];  // by Side

  __device__ void set(int i, const AttendArgs& args, const QueryTile& tile) {
    const bool there = i < tile.count;
    position[i] = there ? tile.position(i) : -1;
    for (int side = 0; side < 2; ++side)
      boundary[side][i] =
          there ? attention::boundary(args.view[side], tile.span, args.pass.reads, position[i]) : 0;
  }
};

// How a tile of queries reads one side: rows [0, sealed) sealed by some query, rows from `exact` on
// exactly by some. Between `exact` and `sealed` queries differ. Query by query sealed rows come
// before exact ones: all sealed rows and then all exact ones is ascending order for each.
struct TileReads {
  int32_t sealed, exact;

  __device__ TileReads(const AttendArgs& args, Side side, const QueryTile& tile) {
    const SideView& view = args.view[static_cast<int>(side)];
    sealed = boundary(view, tile.span, args.pass.reads, tile.newest);
    exact = boundary(view, tile.span, args.pass.reads, tile.position(0));
  }
  // The same within the segment that starts at `base`, of which `rows` rows are there.
  __device__ TileReads in_segment(int32_t base, int32_t rows) const {
    TileReads r = *this;
    r.sealed = min(max(sealed - base, 0), rows);
    r.exact = min(max(exact - base, 0), rows);
    return r;
  }
};

// One side of a segment of one sequence and KV head. A segment lies in one page.
template <class Codec>
class Segment {
 public:
  // `sealed`: whether sealed rows will be asked for; only then need there be a page.
  __device__ Segment(const Codec& codec, const SideView& view, const PassRows& pass,
                     const QueryTile& tile, int32_t base, bool sealed)
      : codec_(codec), view_(view), pass_(pass), tile_(tile), base_(base) {
    if (!sealed) return;
    const CacheShape& shape = view.shape;
    const int64_t head = view.page_of(tile.span.slot, base) * shape.kv_heads + tile.head;
    in_page_ = base % shape.page_tokens;
    row_bytes_ = view.format.row_bytes(shape.head_dim);
    if constexpr (LoadsRows<Codec>) {
      first_ = head * shape.page_tokens + in_page_;
    } else {
      codes_ = view.codes + (head * shape.page_tokens + in_page_) * row_bytes_;
      first_ = head * page_groups(view.format, shape);
    }
  }

  // Channels [channel, channel + 8) of row `row` of the segment.
  __device__ void load8(bool sealed, int row, int channel, float (&x)[8]) const {
    if (!sealed) {
      load_exact8(view_, pass_, tile_.span, tile_.head, base_ + row, channel, x);
      return;
    }
    if constexpr (LoadsRows<Codec>) {
      codec_.attended8(view_, {first_ + row, tile_.span.slot, tile_.head, base_ + row}, channel, x);
    } else {
      const SideFormat& f = view_.format;
      const int dim = view_.shape.head_dim;
      const int64_t at =
          first_ + (f.along_tokens ? int64_t{(in_page_ + row) / f.group} * dim + channel
                                   : int64_t{in_page_ + row} * (dim / f.group) + channel / f.group);
      decode8(codec_, view_, codes_ + row * row_bytes_ + channel / 8 * f.bits, at, tile_.head,
              channel, x);
    }
  }

 private:
  const Codec& codec_;
  const SideView& view_;
  const PassRows& pass_;
  const QueryTile& tile_;
  int32_t base_;
  int32_t in_page_ = 0;
  int64_t row_bytes_ = 0;
  const std::byte* codes_ = nullptr;
  int64_t first_ = 0;  // group of the page, or row of the segment for a codec that loads rows
};

// Decodes rows [from, to) of a segment's V into stage[row - from][dim]; zeros for those outside
// [first, last). Between two barriers. True in every thread if a value is not finite: then a row
// must not reach a query that does not read it, even times +0.
template <class Codec>
__device__ bool stage_values(const Segment<Codec>& v, bool sealed, int from, int to, int first,
                             int last, int dim, int pitch, float* stage) {
  __syncthreads();
  float taint = 0.0f;
  const int octets = dim / 8;
  for (int i = static_cast<int>(threadIdx.x); i < (to - from) * octets; i += kThreads) {
    const int row = i / octets, channel = i % octets * 8;
    float x[8] = {};
    if (from + row >= first && from + row < last) v.load8(sealed, from + row, channel, x);
#pragma unroll
    for (int e = 0; e < 8; ++e) taint = __fmaf_rn(x[e], 0.0f, taint);
    float4* to4 = reinterpret_cast<float4*>(stage + row * pitch + channel);
    to4[0] = make_float4(x[0], x[1], x[2], x[3]);
    to4[1] = make_float4(x[4], x[5], x[6], x[7]);
  }
  return __syncthreads_or(is_nan(taint)) != 0;
}

struct MaxOf {
  __device__ float operator()(float a, float b) const { return max_nan(a, b); }
};
struct SumOf {
  __device__ float operator()(float a, float b) const { return __fadd_rn(a, b); }
};

// Reduces value i of all lanes for i in [0, 8) by the tree of ieee.md 2.2 (lanes j and j xor h for
// h = 16, 8, 4, 2, 1). Lane j gets the result of i = j / 4.
template <class Op>
__device__ inline float reduce8(const float (&value)[8], Op op) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool up = (lane & 16) != 0;
    const float send = up ? value[i] : value[i + 4], keep = up ? value[i + 4] : value[i];
    v[i] = op(keep, __shfl_xor_sync(~0u, send, 16));
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const bool up = (lane & 8) != 0;
    const float send = up ? v[i] : v[i + 2], keep = up ? v[i + 2] : v[i];
    v[i] = op(keep, __shfl_xor_sync(~0u, send, 8));
  }
  const bool up = (lane & 4) != 0;
  const float send = up ? v[0] : v[1], keep = up ? v[1] : v[0];
  float r = op(keep, __shfl_xor_sync(~0u, send, 4));
  r = op(r, __shfl_xor_sync(~0u, r, 2));
  return op(r, __shfl_xor_sync(~0u, r, 1));
}

}  // namespace kvx::gpu::attention
