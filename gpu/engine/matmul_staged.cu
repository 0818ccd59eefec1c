// Few rows of a small W: latency is the limit. A thread block fetches its blocks of k of 32 columns
// into shared memory at once, so that only one way to memory is waited for; warps add one block of
// k for up to four rows each. Where a multiprocessor would have too many blocks of k they go to the
// thread blocks of a cluster. The first of it adds what blocks have summed to, in ascending order.
#include <cooperative_groups.h>

#include <algorithm>

#include "gpu/common/check.h"
#include "gpu/common/successor.cuh"
#include "gpu/engine/matmul_device.cuh"

namespace kvx::gpu {
namespace {

namespace cg = cooperative_groups;

constexpr int kColumns = 32;           // of a thread block, one a lane
constexpr int kMinWarps = 4;           // of a thread block, so that copies are soon under way
constexpr int kMaxWarps = 8;           // the same
constexpr int kThreadOutputs = 4;      // of a thread at most
constexpr int kMaxBytes = 227 * 1024;  // of shared memory a thread block
constexpr int kMaxResident = 32;       // thread blocks of a multiprocessor

__device__ inline void copy_async(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(bytes)
               : "memory");
}

// Steps of the barrier of a cluster, in every thread. The first arrival only says that the thread
// block has begun.
__device__ inline void say_begun() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void publish() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ inline void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Columns of x and W that a thread block holds.
__host__ __device__ inline int held_terms(int k, int k_warps) {
  return min(k_warps * kDotBlock, round_up(k, kWeightPad));
}

// Thread block (column tile and rank in its cluster, rows): warp kw + k_warps * rw adds block
// rank * k_warps + kw for rows rw * kRows on; warps behind these only copy.
template <WeightType kType, int kRows>
__global__ void __launch_bounds__(kMaxWarps * 32)
    staged_kernel(const __grid_constant__ Product p, int k_warps, int row_warps, int cluster) {
  constexpr int kWidth = vector_width(kType);
  constexpr int kPiece = kWeightPad / kWidth;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int lane = thread % 32, warp = thread / 32, warps = threads / 32;
  const int rank = static_cast<int>(blockIdx.x) % cluster;
  const int column0 = static_cast<int>(blockIdx.x) / cluster * kColumns;
  const int rows = row_warps * kRows;
  const int row0 = static_cast<int>(blockIdx.y) * rows;
  const int blocks = (p.k + kDotBlock - 1) / kDotBlock;
  const int padded = round_up(p.k, kWeightPad);
  const int held = held_terms(p.k, k_warps);
  const int first = rank * k_warps * kDotBlock;        // k of the thread block
  const int here = max(0, min(held, padded - first));  // and how many

  extern __shared__ uint4 shared[];
  uint4* const ws = shared;                                             // [held / width][32]
  float* const xs = reinterpret_cast<float*>(ws + held / kWidth * 32);  // [rows][held]
  float* const parts = xs + rows * held;                                // [blocks][rows][32]

  if (cluster > 1) say_begun();
  const uint4* const column = p.w + int64_t{first / kWidth} * p.n + min(column0 + lane, p.n - 1);
#pragma unroll 8
  for (int v = warp; v < here / kWidth; v += warps)
    copy_async(ws + v * 32 + lane, column + int64_t{v} * p.n, 16);
  wait_for_predecessors();
  let_successor_begin();

  // What lies behind column k reads as zero.
  for (int row = 0; row < rows; ++row) {
    const float* const from = p.x + min(row0 + row, p.m - 1) * p.x_stride;
    for (int i = thread * 4; i < here; i += threads * 4) {
      const int bytes = max(0, min(16, (p.k - first - i) * 4));
      copy_async(xs + row * held + i, from + (bytes > 0 ? first + i : 0), bytes);
    }
  }

  float bias[kThreadOutputs] = {}, residual[kThreadOutputs] = {};
  const auto output = [&](int j, int& row, int& col) {
    const int o = thread + j * threads;
    row = row0 + o / kColumns, col = column0 + o % kColumns;
    return rank == 0 && o < rows * kColumns && row < p.m && col < p.n;
  };
#pragma unroll
  for (int j = 0; j < kThreadOutputs; ++j) {
    int row, col;
    if (!output(j, row, col)) continue;
    if (p.bias != nullptr) bias[j] = p.bias[col];
    if (p.residual != nullptr) residual[j] = p.residual[row * p.y_stride + col];
  }

  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  float* all_parts = parts;  // of the first thread block, which has begun
  if (cluster > 1) {
    wait_for_cluster();
    all_parts = cg::this_cluster().map_shared_rank(parts, 0);
  }

  const int kw = warp % k_warps, rw = warp / k_warps;
  const int block = rank * k_warps + kw;
  if (rw < row_warps && block < blocks) {
    float acc[kRows] = {};
    const uint4* w = ws + kw * (kDotBlock / kWidth) * 32 + lane;
    const float* x = xs + rw * kRows * held + kw * kDotBlock;
    const int terms = min(kDotBlock, here - kw * kDotBlock);
    for (int k0 = 0; k0 < terms; k0 += kWeightPad) {
#pragma unroll
      for (int u = 0; u < kPiece; ++u) {
        float wide[kWidth];
        widen<kType>(w[u * 32], wide);
#pragma unroll
        for (int i = 0; i < kWidth; i += 4) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const float4 xr = *reinterpret_cast<const float4*>(x + r * held + u * kWidth + i);
            acc[r] = __fmaf_rn(xr.x, wide[i], acc[r]);
            acc[r] = __fmaf_rn(xr.y, wide[i + 1], acc[r]);
            acc[r] = __fmaf_rn(xr.z, wide[i + 2], acc[r]);
            acc[r] = __fmaf_rn(xr.w, wide[i + 3], acc[r]);
          }
        }
      }
      w += kPiece * 32;
      x += kWeightPad;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      all_parts[(block * rows + rw * kRows + r) * kColumns + lane] = acc[r];
  }
  if (cluster > 1) {
    publish();
    wait_for_cluster();
  } else {
    __syncthreads();
  }

#pragma unroll
  for (int j = 0; j < kThreadOutputs; ++j) {
    int row, col;
    if (!output(j, row, col)) continue;
    const float* const part = parts + thread + j * threads;
    float total = *part;
#pragma unroll 4
    for (int b = 1; b < blocks; ++b) total = __fadd_rn(total, part[b * rows * kColumns]);
    p.y[row * p.y_stride + col] = finish(total, bias[j], residual[j]);
  }
}

int threads_of(const StagedPlan& plan) {
  return 32 * std::max(kMinWarps, plan.k_warps * plan.row_warps);
}

int64_t shared_bytes(const StagedPlan& plan, int64_t k, WeightType type) {
  const int64_t held = held_terms(static_cast<int>(k), plan.k_warps);
  const int64_t rows = plan.rows * plan.row_warps;
  return held * kColumns * element_bytes(type) + 4 * rows * held +
         4 * ceil_div(k, kDotBlock) * rows * kColumns;
}

template <WeightType kType, int kRows>
void launch(const Product& p, const StagedPlan& plan, cudaStream_t stream) {
  const auto kernel = staged_kernel<kType, kRows>;
  static const bool ready = [&] {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxBytes),
          "shared memory of a matrix product");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared),
          "shared memory of a matrix product");
    return true;
  }();
  static_cast<void>(ready);
  launch_successor("staged_kernel", kernel,
                   {.grid = dim3(static_cast<unsigned>(ceil_div(p.n, kColumns) * plan.cluster),
                                 static_cast<unsigned>(ceil_div(p.m, kRows * plan.row_warps))),
                    .block = dim3(static_cast<unsigned>(threads_of(plan))),
                    .shared_bytes = static_cast<size_t>(shared_bytes(plan, p.k, kType)),
                    .stream = stream,
                    .cluster = static_cast<unsigned>(plan.cluster)},
                   p, plan.k_warps, plan.row_warps, plan.cluster);
}

template <WeightType kType>
void launch_type(const Product& p, const StagedPlan& plan, cudaStream_t stream) {
  if (plan.rows == 1) return launch<kType, 1>(p, plan, stream);
  if (plan.rows == 2) return launch<kType, 2>(p, plan, stream);
  launch<kType, 4>(p, plan, stream);
}

// Estimated cycles of the busiest multiprocessor.
double cycles(const StagedPlan& plan, int64_t m, int64_t n, int64_t k, WeightType type,
              int processors) {
  const double rows = plan.rows * plan.row_warps;
  const double held = held_terms(static_cast<int>(k), plan.k_warps);
  const int64_t groups = ceil_div(n, kColumns) * ceil_div(m, plan.rows * plan.row_warps);
  const int64_t live =
      ceil_div(ceil_div(k, kDotBlock), plan.k_warps);  // thread blocks of a cluster
  const auto of_one = static_cast<double>(ceil_div(groups * live, processors));
  const int64_t resident =
      std::min<int64_t>({(kMaxBytes + 1024) / (shared_bytes(plan, k, type) + 1024),
                         2048 / threads_of(plan), kMaxResident});
  const double waves = std::max(1.0, of_one / static_cast<double>(resident));

  const double bytes = static_cast<double>(n * k * element_bytes(type));
  const double near =  // from the second-level cache
      of_one * held * (kColumns * static_cast<double>(element_bytes(type)) + 4.0 * rows) / 40.0;
  const double fetch = std::max(near, 1.15 * bytes / (13.0 * processors));
  const double loads = type == WeightType::kF32 ? 4.0 : 2.0;  // cycles of four terms of a column
  const double warps = of_one * plan.row_warps * held / 4.0;  // four terms of a warp
  const double chain = waves * 4.0 * static_cast<double>(std::min<int64_t>(k, kDotBlock));
  const double compute = std::max({chain, warps * (1.5 * plan.rows + loads), warps * plan.rows});
  // Fetching and computing overlap between thread blocks of different waves only.
  const double overlap = std::min(waves, static_cast<double>(resident));
  return 2500.0 + std::max(fetch, compute) + std::min(fetch, compute) / overlap +
         (plan.cluster > 1 ? 600.0 : 0.0);
}

}  // namespace

bool staged_fits(const StagedPlan& plan, int64_t k, WeightType type) {
  return plan.k_warps * plan.row_warps <= kMaxWarps &&
         plan.rows * plan.row_warps * kColumns <= kThreadOutputs * threads_of(plan) &&
         int64_t{plan.k_warps} * plan.cluster * kDotBlock >= k &&
         shared_bytes(plan, k, type) <= kMaxBytes;
}

StagedPlan plan_staged(int64_t m, int64_t n, int64_t k, WeightType type, int processors) {
  StagedPlan best;
  best.cycles = 1.0e300;
  const int64_t blocks = ceil_div(k, kDotBlock);
  for (int row_warps = 1; row_warps <= 4; row_warps *= 2) {
    if (row_warps > 1 && 2 * m <= 4 * row_warps) break;  // half of them would do
    for (int cluster = 1; cluster <= 8; cluster *= 2) {
      StagedPlan plan;
      plan.rows = static_cast<int>(m <= 2 ? m : 4);
      plan.row_warps = row_warps;
      plan.cluster = cluster;
      plan.k_warps = static_cast<int>(ceil_div(blocks, cluster));
      if (staged_fits(plan, k, type)) {
        plan.cycles = cycles(plan, m, n, k, type, processors);
        if (plan.cycles < best.cycles) best = plan;
      }
      if (cluster >= blocks) break;
    }
  }
  return best;
}

void launch_staged(const Product& p, WeightType type, const StagedPlan& plan, cudaStream_t stream) {
  switch (type) {
    case WeightType::kF32:
      return launch_type<WeightType::kF32>(p, plan, stream);
    case WeightType::kF16:
      return launch_type<WeightType::kF16>(p, plan, stream);
    case WeightType::kBf16:
      return launch_type<WeightType::kBf16>(p, plan, stream);
  }
}

}  // namespace kvx::gpu
