// Folds by a block: tiles into a segment, segments into a span, spans into a query (fixed.md, steps
// 10 to 12).
#pragma once

#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

inline constexpr int kMostGroups = 4;  // of V, in a fast path

// Exponents of what a tile's integers are worth, of one query: eu - 15 and ez - 18 by V group.
struct TileUnits {
  int values[kMostGroups], zeros[kMostGroups];
};

// Parts in shared memory, each [query][PartShape].
struct Parts {
  std::byte* first;
  int stride;  // bytes

  __device__ float* of(int i) const { return reinterpret_cast<float*>(first + i * stride); }
};

// Folds kCount parts into `to`, [query][PartShape]. fold(part, query, i, m, x, sum): sum i of a
// query of a part, of maximum m, behind `sum`.
template <int kQueries, int kCount, class Fold>
__device__ inline void fold_parts_to(float* to, const Parts& parts, const PartShape& shape,
                                     Fold fold) {
  for (int at = static_cast<int>(threadIdx.x); at < kQueries * shape.sums();
       at += static_cast<int>(blockDim.x)) {
    const int query = at / shape.sums(), i = at - query * shape.sums();
    const int first = query * shape.floats();
    Sum sum;
#pragma unroll
    for (int part = 0; part < kCount; ++part) {
      const float* from = parts.of(part) + first;
      fold(part, query, i, __float_as_int(from[shape.maximum()]), from[i], sum);
    }
    to[first + i] = sum.x;
    if (i == shape.mass()) to[first + shape.maximum()] = __int_as_float(sum.m);
  }
  __syncthreads();
}

template <int kQueries>
__device__ inline void fold_segments(float* to, const Parts& parts, const PartShape& shape) {
  fold_parts_to<kQueries, kSpanSegments>(
      to, parts, shape, [](int, int, int, int m, float x, Sum& sum) { sum.fold(m, x); });
}

// Parts of one tile each; units [part][query].
template <int kQueries>
__device__ inline void fold_tiles(float* to, const Parts& parts, const PartShape& shape,
                                  const TileUnits* units) {
  const int channels = shape.dim / shape.groups;
  fold_parts_to<kQueries, kSegmentTiles>(
      to, parts, shape, [&](int part, int query, int i, int m, float x, Sum& sum) {
        if (m == kNoMaximum) return;
        const TileUnits& u = units[part * kQueries + query];
        const int unit = i < shape.dim      ? u.values[i / channels]
                         : i < shape.mass() ? u.zeros[i - shape.dim]
                                            : -21;
        sum.fold_tile(m, x, unit);
      });
}

// A span's parts [query] behind `total`.
template <int kQueries>
__device__ inline void fold_span(const float* parts, const PartShape& shape, float* total) {
  for (int query = 0; query < kQueries; ++query) {
    const float* part = parts + query * shape.floats();
    float* to = total + query * shape.floats();
    for (int i = static_cast<int>(threadIdx.x); i < shape.sums();
         i += static_cast<int>(blockDim.x)) {
      Sum sum{__float_as_int(to[shape.maximum()]), to[i]};
      sum.fold(__float_as_int(part[shape.maximum()]), part[i]);
      to[i] = sum.x;
    }
  }
  __syncthreads();
  if (threadIdx.x < kQueries) {
    const int at = static_cast<int>(threadIdx.x) * shape.floats() + shape.maximum();
    total[at] = __int_as_float(max(__float_as_int(total[at]), __float_as_int(parts[at])));
  }
  __syncthreads();
}

// What the parts [query] give.
__device__ inline void give_out(const KernelArgs& args, const Limits& limits, int queries,
                                const float* parts) {
  const PartShape& shape = args.part;
  const int channels = shape.dim / shape.groups;
  for (int query = 0; query < queries; ++query) {
    const float* part = parts + query * shape.floats();
    for (int i = static_cast<int>(threadIdx.x); i < shape.dim; i += static_cast<int>(blockDim.x))
      args.attend.out[limits.at[query] + i] =
          finish(part[i], part[shape.dim + i / channels], part[shape.mass()]);
  }
}

// Shared memory from `from` to `to`: parts without a tile.
__device__ inline void clear(std::byte* from, std::byte* to) {
  for (from += 16 * threadIdx.x; from < to; from += 16 * blockDim.x)
    *reinterpret_cast<uint4*>(from) = make_uint4(0, 0, 0, 0);
}

}  // namespace kvx::gpu::fused
