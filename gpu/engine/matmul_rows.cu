// Few rows: memory bandwidth is the limit. A thread owns one or two columns and a block of k for
// all rows, so that weights go straight from memory to registers and are read once; warps of a
// thread block take different blocks of k and are added in ascending order through shared memory.
#include <algorithm>

#include "gpu/common/check.h"
#include "gpu/common/successor.cuh"
#include "gpu/engine/matmul_device.cuh"

namespace kvx::gpu {
namespace {

constexpr int kChunk = 128;       // columns of x that a warp stages at once, twice
constexpr int kAhead = 8;         // vectors of weights in flight for every column of a thread
constexpr int kWarpsWanted = 16;  // on a multiprocessor

__device__ inline void copy_async(float* to, const float* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(bytes)
               : "memory");
}
__device__ inline void copies_done() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
}

// Weights are read once: they need not stay in the first-level cache.
__device__ inline void load_weights(uint4& v, const uint4* from, bool wanted) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %5, 0;\n"
      "@p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];}"
      : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
      : "l"(from), "r"(static_cast<int>(wanted)));
}
// The same before wait_for_predecessors(): the assembler moves an .nc behind it.
__device__ inline void load_first_weights(uint4& v, const uint4* from, bool wanted) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %5, 0;\n"
      "@p ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];}"
      : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
      : "l"(from), "r"(static_cast<int>(wanted)));
}

// Warps of a thread block at most: registers run out.
constexpr int max_warps(int rows) { return rows < kFewRows ? 14 : 8; }

template <int kRows, int kColumns>
int64_t shared_floats(int warps, int column_warps) {
  return int64_t{warps} * 2 * kRows * kChunk +
         int64_t{warps + column_warps} * kRows * kColumns * 32;
}

// Warp (cw, kw) of a thread block computes 32 * kColumns columns and the blocks of k kw, kw +
// k_warps, ... for rows [blockIdx.y * kRows, + kRows). In every round each warp adds one block.
template <WeightType kType, int kRows, int kColumns>
__global__ void __launch_bounds__(max_warps(kRows) * 32, kRows < 4 ? 2 : 1)
    few_rows_kernel(const __grid_constant__ Product p, int k_warps) {
  constexpr int kWidth = vector_width(kType);
  constexpr int kGroupTerms = kAhead * kWidth;           // k of a group of kAhead vectors
  constexpr int kBlockGroups = kDotBlock / kGroupTerms;  // groups of a whole block
  constexpr int kChunkGroups = kChunk / kGroupTerms;     // groups of a chunk of x
  constexpr int kOutputs = kRows * kColumns;             // of a thread
  static_assert(kWeightPad % kGroupTerms == 0 && kChunk % kGroupTerms == 0);

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int column_warps = warps / k_warps;
  const int kw = warp % k_warps, cw = warp / k_warps;
  extern __shared__ float4 shared[];
  float* const x_chunks = reinterpret_cast<float*>(shared) + warp * 2 * kRows * kChunk;
  float* const parts = reinterpret_cast<float*>(shared) + warps * 2 * kRows * kChunk +
                       cw * k_warps * kOutputs * 32 + lane;  // [k_warps][kOutputs][32]
  float* const totals = reinterpret_cast<float*>(shared) + warps * 2 * kRows * kChunk +
                        (warps + cw) * kOutputs * 32 + lane;  // [kOutputs][32]

  const int row0 = static_cast<int>(blockIdx.y) * kRows;
  const int column0 = (static_cast<int>(blockIdx.x) * column_warps + cw) * 32 * kColumns + lane;
  const int groups = round_up(p.k, kWeightPad) / kGroupTerms;  // of the whole k
  const int blocks = (p.k + kDotBlock - 1) / kDotBlock;
  const int rounds = (blocks + k_warps - 1) / k_warps;

  // Chunk `chunk` of block `block` of x to buffer `buffer`; zeros behind column k.
  const auto stage = [&](int block, int chunk, int buffer) {
    const int k0 = block * kDotBlock + chunk * kChunk + lane * 4;
    const int bytes = max(0, min(16, (p.k - k0) * 4));
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float* from = p.x + min(row0 + r, p.m - 1) * p.x_stride + (bytes > 0 ? k0 : 0);
      copy_async(x_chunks + (buffer * kRows + r) * kChunk + lane * 4, from, bytes);
    }
  };

  const uint4* column[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) column[c] = p.w + min(column0 + 32 * c, p.n - 1);
  uint4 ring[kAhead][kColumns] = {};
  {
    const int64_t first = int64_t{kw} * kBlockGroups * kAhead;
#pragma unroll
    for (int u = 0; u < kAhead; ++u)
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        load_first_weights(ring[u][c], column[c] + (first + u) * p.n, kw < blocks);
  }
  wait_for_predecessors();
  let_successor_begin();
  int buffer = 0;
  stage(kw, 0, 0);

  for (int round = 0; round < rounds; ++round) {
    const int block = kw + round * k_warps;
    float acc[kRows][kColumns] = {};
    const int block_groups = max(0, min(kBlockGroups, groups - block * kBlockGroups));
    for (int g = 0; g < block_groups; ++g) {
      if (g % kChunkGroups == 0) {
        copies_done();
        const bool last = g + kChunkGroups >= block_groups;
        stage(last ? block + k_warps : block, last ? 0 : g / kChunkGroups + 1, buffer ^ 1);
        buffer ^= 1;
      }
      const float* x = x_chunks + (buffer ^ 1) * kRows * kChunk + g % kChunkGroups * kGroupTerms;
      const int next =
          g + 1 < block_groups ? block * kBlockGroups + g + 1 : (block + k_warps) * kBlockGroups;
      const bool more = next < groups;
      const int64_t next_at = int64_t{next} * kAhead * p.n;
      const uint4* from[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) from[c] = column[c] + next_at;
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        float w[kColumns][kWidth];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) widen<kType>(ring[u][c], w[c]);
#pragma unroll
        for (int i = 0; i < kWidth; i += 4) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const float4 xr = *reinterpret_cast<const float4*>(x + r * kChunk + u * kWidth + i);
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
              acc[r][c] = __fmaf_rn(xr.x, w[c][i], acc[r][c]);
              acc[r][c] = __fmaf_rn(xr.y, w[c][i + 1], acc[r][c]);
              acc[r][c] = __fmaf_rn(xr.z, w[c][i + 2], acc[r][c]);
              acc[r][c] = __fmaf_rn(xr.w, w[c][i + 3], acc[r][c]);
            }
          }
        }
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          load_weights(ring[u][c], from[c], more);
          from[c] += p.n;
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kOutputs; ++o)
      parts[(kw * kOutputs + o) * 32] = acc[o / kColumns][o % kColumns];
    if (k_warps > 1) __syncthreads();
    const int live = min(k_warps, blocks - round * k_warps);
    for (int o = kw; o < kOutputs; o += k_warps) {
      float total = parts[o * 32];
      if (round > 0) total = __fadd_rn(totals[o * 32], total);
      for (int b = 1; b < live; ++b) total = __fadd_rn(total, parts[(b * kOutputs + o) * 32]);
      totals[o * 32] = total;
    }
    if (k_warps > 1 && round + 1 < rounds) __syncthreads();
  }

  for (int o = kw; o < kOutputs; o += k_warps) {
    const int row = row0 + o / kColumns, col = column0 + o % kColumns * 32;
    if (row >= p.m || col >= p.n) continue;
    write_output(p, totals[o * 32], row * p.y_stride + col, col);
  }
}

template <WeightType kType, int kRows, int kColumns>
void launch(const Product& p, int processors, cudaStream_t stream) {
  const int64_t column_tiles = ceil_div(p.n, 32 * kColumns);
  const int64_t blocks = ceil_div(p.k, kDotBlock);
  const int64_t wanted = ceil_div(int64_t{processors} * kWarpsWanted, column_tiles);
  const int64_t rounds = ceil_div(blocks, std::clamp<int64_t>(wanted, 1, max_warps(kRows)));
  const int k_warps = static_cast<int>(ceil_div(blocks, rounds));
  const int column_warps = static_cast<int>(std::clamp<int64_t>(
      std::min<int64_t>(8 / k_warps, column_tiles / processors), 1, max_warps(kRows)));
  const int warps = k_warps * column_warps;
  const int64_t bytes = 4 * shared_floats<kRows, kColumns>(warps, column_warps);
  const auto kernel = few_rows_kernel<kType, kRows, kColumns>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "shared memory of a matrix product");
  const dim3 grid(static_cast<unsigned>(ceil_div(column_tiles, column_warps)),
                  static_cast<unsigned>(ceil_div(p.m, kRows)));
  launch_successor("few_rows_kernel", kernel,
                   {.grid = grid,
                    .block = dim3(static_cast<unsigned>(32 * warps)),
                    .shared_bytes = static_cast<size_t>(bytes),
                    .stream = stream},
                   p, k_warps);
}

template <WeightType kType>
void launch_rows(const Product& p, int processors, cudaStream_t stream) {
  if (p.m == 1) return launch<kType, 1, 1>(p, processors, stream);
  if (p.m == 2) return launch<kType, 2, 1>(p, processors, stream);
  if (p.m <= 4) return launch<kType, 4, 1>(p, processors, stream);
  launch<kType, kFewRows, 2>(p, processors, stream);
}

}  // namespace

void launch_few_rows(const Product& p, WeightType type, int processors, cudaStream_t stream) {
  switch (type) {
    case WeightType::kF32:
      return launch_rows<WeightType::kF32>(p, processors, stream);
    case WeightType::kF16:
      return launch_rows<WeightType::kF16>(p, processors, stream);
    case WeightType::kBf16:
      return launch_rows<WeightType::kBf16>(p, processors, stream);
  }
}

}  // namespace kvx::gpu
