#include <algorithm>
#include <cmath>

#include "gpu/cache/layout.h"
#include "gpu/common/check.h"
#include "gpu/common/lane_sum.cuh"
#include "gpu/gradient/attention_backward.h"
#include "gpu/gradient/product_tile.cuh"

namespace kvx::gpu {
namespace {

constexpr int kBlock = 128;     // tokens of one chain
constexpr int kDotBlock = 512;  // terms of one chain of a score: more than a head has

KVX_HD constexpr int block_end(int token) { return (token / kBlock + 1) * kBlock; }
int64_t padded(int64_t tokens) { return (tokens + kBlock - 1) / kBlock * kBlock; }

// Queries [first, first + count) of all heads: p and ds (before that: scores and e) are
// [heads][band][stride], a row's keys side by side.
struct Band {
  AttentionBackward of;
  int first, count, stride;
  float scale;
  float *p, *ds;

  __device__ int64_t row(int head, int query) const {
    return (int64_t{head} * of.band + (query - first)) * stride;
  }
  __device__ int kv_head(int head) const { return head / (of.heads / of.kv_heads); }
  // One head's rows of a tensor [tokens][heads][dim], from token `from` on.
  __device__ Factor rows(const float* data, int heads, int head, int from, bool along_k) const {
    const int64_t stride_in = int64_t{heads} * of.dim;
    return {data + from * stride_in + int64_t{head} * of.dim, stride_in,
            along_k ? of.tokens - from : of.dim};
  }
};

// A tile of scores q k^T, or of e = dout v^T.
__global__ void __launch_bounds__(kTileThreads) scores_kernel(const __grid_constant__ Band band) {
  const AttentionBackward& a = band.of;
  const int head = static_cast<int>(blockIdx.z) / 2, kv_head = band.kv_head(head);
  const bool is_e = blockIdx.z % 2 == 1;
  const int key0 = static_cast<int>(blockIdx.x) * kTile;
  const int query0 = band.first + static_cast<int>(blockIdx.y) * kTile;
  if (key0 >= min(block_end(query0), a.tokens)) return;
  const Factor queries = band.rows(is_e ? a.dout : a.q, a.heads, head, 0, true);
  const Factor keys = band.rows(is_e ? a.v : a.k, a.kv_heads, kv_head, 0, true);
  float total[4][4] = {};
  add_products<true, true>(queries, keys, query0, key0, 0, a.dim, kDotBlock, total);
  const int query = query0 + thread_row();
  float* to = (is_e ? band.ds : band.p) + band.row(head, query) + key0 + thread_column();
  for (int i = 0; i < 4 && query + i < band.first + band.count; ++i, to += band.stride)
    *reinterpret_cast<float4*>(to) =
        make_float4(total[i][0], total[i][1], total[i][2], total[i][3]);
}

// Scores and e of one query become p and ds, with zeros up to the end of its block.
__global__ void rows_kernel(const __grid_constant__ Band band) {
  __shared__ float lanes[kLanes];
  const int query = band.first + static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int end = block_end(query), width = min(end, band.of.tokens);
  float* const p = band.p + band.row(static_cast<int>(blockIdx.y), query);
  float* const ds = band.ds + band.row(static_cast<int>(blockIdx.y), query);

  float greatest = __uint_as_float(0xFF800000u);
  for (int j = thread; j <= query; j += kLanes) {
    const float s = __fmul_rn(p[j], band.scale);
    p[j] = s;
    greatest = max_nan(greatest, s);
  }
  greatest = block_max(greatest, lanes);
  float sum = 0.0f;
  for (int j = thread; j <= query; j += kLanes) {
    const float e = exp_ieee(__fsub_rn(p[j], greatest));
    p[j] = e;
    sum = __fadd_rn(sum, e);
  }
  sum = block_sum(sum, lanes);
  float mean = 0.0f;
  for (int j = thread; j < end; j += kLanes) {
    const float x = j <= query ? __fdiv_rn(p[j], sum) : 0.0f;
    p[j] = x;
    if (j < width) mean = __fadd_rn(mean, __fmul_rn(x, ds[j]));
  }
  mean = block_sum(mean, lanes);
  for (int j = thread; j < end; j += kLanes) {
    ds[j] = j < width ? __fmul_rn(__fmul_rn(p[j], __fsub_rn(ds[j], mean)), band.scale) : 0.0f;
  }
}

// The band's part of a tile of dv, or of dk, of one query head.
__global__ void __launch_bounds__(kTileThreads) keys_kernel(const __grid_constant__ Band band) {
  const AttentionBackward& a = band.of;
  const int head = static_cast<int>(blockIdx.z) / 2;
  const bool is_k = blockIdx.z % 2 == 1;
  const int key0 = static_cast<int>(blockIdx.x) * kTile;
  const int channel0 = static_cast<int>(blockIdx.y) * kTile;
  const int from = max(key0 / kBlock * kBlock - band.first, 0);  // of the band's queries
  const Factor weights = {(is_k ? band.ds : band.p) + band.row(head, band.first), band.stride,
                          band.stride};
  const Factor queries = band.rows(is_k ? a.q : a.dout, a.heads, head, band.first, false);
  const int key = key0 + thread_row(), channel = channel0 + thread_column();
  float* const to = (is_k ? a.dk : a.dv) + (int64_t{head} * a.tokens + key) * a.dim + channel;
  float total[4][4] = {};
  for (int i = 0; i < 4 && key + i < a.tokens; ++i)
    for (int j = 0; j < 4 && channel + j < a.dim; ++j) total[i][j] = to[i * a.dim + j];
  add_products<false, false>(weights, queries, key0, channel0, from, band.count, kBlock, total);
  for (int i = 0; i < 4 && key + i < a.tokens; ++i)
    for (int j = 0; j < 4 && channel + j < a.dim; ++j) to[i * a.dim + j] = total[i][j];
}

// A tile of dq.
__global__ void __launch_bounds__(kTileThreads) queries_kernel(const __grid_constant__ Band band) {
  const AttentionBackward& a = band.of;
  const int head = static_cast<int>(blockIdx.z);
  const int query0 = static_cast<int>(blockIdx.x) * kTile;  // of the band
  const int channel0 = static_cast<int>(blockIdx.y) * kTile;
  const Factor weights = {band.ds + band.row(head, band.first), band.stride, band.count};
  const Factor keys = band.rows(a.k, a.kv_heads, band.kv_head(head), 0, false);
  const int width = min(block_end(band.first + query0), a.tokens);
  float total[4][4] = {};
  add_products<true, false>(weights, keys, query0, channel0, 0, width, kBlock, total);
  const int query = query0 + thread_row(), channel = channel0 + thread_column();
  float* const to = a.dq + (int64_t{band.first + query} * a.heads + head) * a.dim + channel;
  for (int i = 0; i < 4 && query + i < band.count; ++i)
    for (int j = 0; j < 4 && channel + j < a.dim; ++j)
      to[int64_t{i} * a.heads * a.dim + j] = total[i][j];
}

unsigned tiles(int64_t outputs) { return static_cast<unsigned>((outputs + kTile - 1) / kTile); }

}  // namespace

int32_t attention_backward_band(int64_t tokens, int64_t heads) {
  constexpr int64_t kFloats = int64_t{1} << 28;
  const int64_t rows = kFloats / (2 * heads * padded(tokens)) / kBlock * kBlock;
  return static_cast<int32_t>(std::clamp<int64_t>(rows, kBlock, padded(tokens)));
}

int64_t attention_backward_floats(int64_t tokens, int64_t heads, int32_t band) {
  return 2 * heads * band * padded(tokens);
}

void attention_backward(const AttentionBackward& args, cudaStream_t stream) {
  const int64_t floats = int64_t{args.heads} * args.tokens * args.dim;
  for (float* sums : {args.dk, args.dv})
    check(cudaMemsetAsync(sums, 0, static_cast<size_t>(floats) * sizeof(float), stream),
          "sums of gradients");
  Band band{.of = args,
            .stride = static_cast<int>(padded(args.tokens)),
            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(args.dim))),
            .p = args.scratch};
  band.ds = band.p + int64_t{args.heads} * args.band * band.stride;
  const auto heads = static_cast<unsigned>(args.heads);
  for (band.first = 0; band.first < args.tokens; band.first += args.band) {
    band.count = std::min(args.band, args.tokens - band.first);
    const unsigned keys = tiles(band.first + band.count), queries = tiles(band.count);
    const unsigned channels = tiles(args.dim);
    scores_kernel<<<dim3(keys, queries, 2 * heads), kTileThreads, 0, stream>>>(band);
    check_launch("scores_kernel");
    rows_kernel<<<dim3(static_cast<unsigned>(band.count), heads), kLanes, 0, stream>>>(band);
    check_launch("rows_kernel");
    keys_kernel<<<dim3(keys, channels, 2 * heads), kTileThreads, 0, stream>>>(band);
    check_launch("keys_kernel");
    queries_kernel<<<dim3(queries, channels, heads), kTileThreads, 0, stream>>>(band);
    check_launch("queries_kernel");
  }
}

}  // namespace kvx::gpu
