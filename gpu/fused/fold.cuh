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

// What a part of one query counts for as it is folded behind those before it: they are multiplied
// by `raise`, its sums by the others.
struct PartWeight {
  float raise, mass;
  float values[kMostGroups], zeros[kMostGroups];
  int m;  // the maximum then
};
// By part and query, as many of each as there are lanes in a warp.
inline constexpr int kFolded = 8;
static_assert(kFolded == kSegmentTiles && kFolded == kSpanSegments &&
              kFolded * kBlockQueries == 32);

// Steps 10 and 11 of the maxima of kFolded parts, by a warp: weights[part][query]. units: [part]
// [query] of parts that are a tile each, else null.
template <int kQueries>
__device__ __forceinline__ void weigh_parts(const Parts& parts, const PartShape& shape,
                                            const TileUnits* units, PartWeight* weights) {
  const int lane = lane_of_warp(), part = lane % kFolded, query = lane / kFolded % kQueries;
  const int m = __float_as_int(parts.of(part)[query * shape.floats() + shape.maximum()]);
  int most = m;
#pragma unroll
  for (int x = 1; x < kFolded; x *= 2) {
    const int before = __shfl_up_sync(~0u, most, x, kFolded);
    if (part >= x) most = max(most, before);
  }
  int before = __shfl_up_sync(~0u, most, 1, kFolded);
  if (part == 0) before = kNoMaximum;
  if (lane >= kFolded * kQueries) return;
  PartWeight& w = weights[part * kQueries + query];
  const int down = m - most;
  w.raise = power(before - most);
  w.m = most;
  if (units == nullptr) {
    w.mass = power(down);
    return;
  }
  // The part is a tile's integer times 2^unit.
  const auto weight = [&](int unit) {
    return down + unit < -100 ? 0.0f
                              : __uint_as_float(static_cast<uint32_t>(max(down, -126) + 127) << 23);
  };
  const TileUnits& u = units[part * kQueries + query];
  w.mass = weight(-21);
  for (int i = 0; i < shape.groups; ++i)
    w.values[i] = weight(u.values[i]), w.zeros[i] = weight(u.zeros[i]);
}

// Folds kFolded parts of weights [part][query] into `to`, [query][PartShape], by a block.
template <int kQueries>
__device__ __forceinline__ void fold_parts_to(float* to, const Parts& parts, const PartShape& shape,
                                              const PartWeight* weights, bool tiles) {
  const int channels = shape.dim / shape.groups;
  for (int at = static_cast<int>(threadIdx.x); at < kQueries * shape.sums();
       at += static_cast<int>(blockDim.x)) {
    const int query = at / shape.sums(), i = at - query * shape.sums();
    const int first = query * shape.floats() + i;
    // Where in a PartWeight this sum's is.
    const float* weight = &weights[query].mass;
    if (tiles && i < shape.dim) weight = &weights[query].values[i / channels];
    if (tiles && i >= shape.dim && i < shape.mass()) weight = &weights[query].zeros[i - shape.dim];
    const float* raise = &weights[query].raise;
    constexpr int kStep = kQueries * static_cast<int>(sizeof(PartWeight) / sizeof(float));
    float x[kFolded];
#pragma unroll
    for (int part = 0; part < kFolded; ++part) x[part] = parts.of(part)[first];
    float sum = 0.0f;
#pragma unroll
    for (int part = 0; part < kFolded; ++part)
      sum = __fmaf_rn(x[part], weight[part * kStep], __fmul_rn(sum, raise[part * kStep]));
    to[first] = sum;
    if (i == shape.mass())
      to[first + 1] = __int_as_float(weights[(kFolded - 1) * kQueries + query].m);
  }
}

// A span's parts [query] behind `total`, by a block.
template <int kQueries>
__device__ __forceinline__ void fold_span(const float* parts, const PartShape& shape,
                                          float* total) {
  constexpr int kMost = 8;  // floats of a thread: 256 threads or more, dim 256 or less
  float sums[kMost];
  const int count = kQueries * shape.floats();
  const auto each = [&](auto&& f) {
#pragma unroll
    for (int e = 0; e < kMost; ++e) {
      const int at = static_cast<int>(threadIdx.x) + e * static_cast<int>(blockDim.x);
      if (at < count) f(at, sums[e]);
    }
  };
  each([&](int at, float& x) {
    const int query = at / shape.floats(), m = query * shape.floats() + shape.maximum();
    Sum sum{__float_as_int(total[m]), total[at]};
    sum.fold(__float_as_int(parts[m]), parts[at]);
    x = at == m ? __int_as_float(sum.m) : sum.x;
  });
  __syncthreads();
  each([&](int at, float& x) { total[at] = x; });
  __syncthreads();
}

// What the parts [query] give.
__device__ __forceinline__ void give_out(const KernelArgs& args, const PartShape& shape,
                                         const Limits& limits, int queries, const float* parts) {
  const int channels = shape.dim / shape.groups;
  for (int at = static_cast<int>(threadIdx.x); at < queries * shape.dim;
       at += static_cast<int>(blockDim.x)) {
    const int query = at / shape.dim, i = at - query * shape.dim;
    const float* part = parts + query * shape.floats();
    args.attend.out[limits.at[query] + i] =
        finish(part[i], part[shape.dim + i / channels], part[shape.mass()]);
  }
}

// Shared memory from `from` to `to`: parts without a tile.
__device__ __forceinline__ void clear(std::byte* from, std::byte* to) {
  for (from += 16 * threadIdx.x; from < to; from += 16 * blockDim.x)
    *reinterpret_cast<uint4*>(from) = make_uint4(0, 0, 0, 0);
}

}  // namespace kvx::gpu::fused
