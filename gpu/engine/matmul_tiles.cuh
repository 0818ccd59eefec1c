// Many rows: the floating-point units are the limit. A thread block owns a tile of outputs and
// walks over k: x and widened weights go through double-buffered shared memory, [k][row] and
// [k][column], and a thread adds kTm x kTn chains in registers. What blocks of 512 have summed to
// is kept in shared memory.
#pragma once

#include "gpu/common/check.h"
#include "gpu/engine/matmul_device.cuh"

namespace kvx::gpu {

// A tile of kBm x kBn outputs, kBk of k at a time, kTm x kTn a thread; lanes of a warp are 4 rows
// by 8 columns of threads.
template <int kBm_, int kBn_, int kBk_, int kTm_, int kTn_, int kResident_>
struct Tile {
  static constexpr int kBm = kBm_, kBn = kBn_, kBk = kBk_, kTm = kTm_, kTn = kTn_;
  static constexpr int kResident = kResident_;  // thread blocks of a multiprocessor
  static constexpr int kThreads = (kBm / kTm) * (kBn / kTn);
  static constexpr int kWarpM = 4 * kTm, kWarpN = 8 * kTn;
  static constexpr int kXStride = kBm + 4;  // stores of transposed x hit different banks
  static constexpr int kXFloats = kBk * kXStride, kWFloats = kBk * kBn;
  static constexpr int kStageFloats = 2 * (kXFloats + kWFloats);
  static constexpr int kTotalFloats = kBm * kBn;
  static_assert(kBm % kWarpM == 0 && kBn % kWarpN == 0 && kWeightPad % kBk == 0);
  static_assert(kTm % 4 == 0 && kTn % 4 == 0 && kBk % 8 == 0);
};

// `left` columns of x are left from here on; what is behind them reads as zero.
__device__ inline float4 load_x(const float* from, int left) {
  if (left >= 4) return *reinterpret_cast<const float4*>(from);
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (left > 0) v.x = from[0];
  if (left > 1) v.y = from[1];
  if (left > 2) v.z = from[2];
  return v;
}

template <WeightType kType, class T>
struct TileLoader {
  static constexpr int kWidth = vector_width(kType);
  static constexpr int kXVectors = T::kBm * T::kBk / 4 / T::kThreads;
  static constexpr int kWVectors = T::kBn * T::kBk / kWidth / T::kThreads;
  static_assert(kXVectors * 4 * T::kThreads == T::kBm * T::kBk);
  static_assert(kWVectors * kWidth * T::kThreads == T::kBn * T::kBk);

  float4 x[kXVectors];
  uint4 w[kWVectors];

  // Two neighbouring lanes read 32 bytes of a row of x, lanes 16 rows of it.
  static __device__ int x_row(int i) { return (thread() / 2 + i * (T::kThreads / 2)) % T::kBm; }
  static __device__ int x_quad(int i) {
    return thread() % 2 + (thread() / 2 + i * (T::kThreads / 2)) / T::kBm * 2;
  }
  static __device__ int w_column(int i) { return (thread() + i * T::kThreads) % T::kBn; }
  static __device__ int w_vector(int i) { return (thread() + i * T::kThreads) / T::kBn; }
  static __device__ int thread() { return static_cast<int>(threadIdx.x); }

  __device__ void load(const Product& p, int row0, int column0, int k0) {
#pragma unroll
    for (int i = 0; i < kXVectors; ++i) {
      const int k = k0 + x_quad(i) * 4;
      x[i] = load_x(p.x + min(row0 + x_row(i), p.m - 1) * p.x_stride + k, p.k - k);
    }
#pragma unroll
    for (int i = 0; i < kWVectors; ++i)
      w[i] = __ldg(p.w + int64_t{k0 / kWidth + w_vector(i)} * p.n +
                   min(column0 + w_column(i), p.n - 1));
  }

  __device__ void store(float* xs, float* ws) const {
#pragma unroll
    for (int i = 0; i < kXVectors; ++i) {
      float* to = xs + x_quad(i) * 4 * T::kXStride + x_row(i);
      to[0] = x[i].x;
      to[T::kXStride] = x[i].y;
      to[2 * T::kXStride] = x[i].z;
      to[3 * T::kXStride] = x[i].w;
    }
#pragma unroll
    for (int i = 0; i < kWVectors; ++i) {
      float v[kWidth];
      widen<kType>(w[i], v);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) ws[(w_vector(i) * kWidth + j) * T::kBn + w_column(i)] = v[j];
    }
  }
};

template <int kCount, int kStep>
__device__ inline void load_fragment(const float* from, float (&to)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 v = *reinterpret_cast<const float4*>(from + i / 4 * kStep);
    to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
  }
}

// The outputs of a thread, groups of four by four from (row, column) on.
template <class T>
__device__ inline void write_tile(const Product& p, const float (&total)[T::kTm][T::kTn], int row,
                                  int column) {
  const bool vectors = p.n % 4 == 0 && p.y_stride % 4 == 0 &&
                       (reinterpret_cast<uintptr_t>(p.y) | reinterpret_cast<uintptr_t>(p.bias) |
                        reinterpret_cast<uintptr_t>(p.residual)) %
                               16 ==
                           0;
  const float4 zeros = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
  for (int j = 0; j < T::kTn; j += 4) {
    const int first_column = column + j / 4 * 32;
    const int near_column = min(first_column, p.n - 4);
    float4 bias = zeros;
    if (vectors && p.bias != nullptr) bias = *reinterpret_cast<const float4*>(p.bias + near_column);
#pragma unroll
    for (int i = 0; i < T::kTm; i += 4) {
      const int first_row = row + i / 4 * 16;
      if (vectors) {
        // Loads first, so that they wait together.
        float4 r[4] = {zeros, zeros, zeros, zeros};
        if (p.residual != nullptr) {
#pragma unroll
          for (int c = 0; c < 4; ++c)
            r[c] = *reinterpret_cast<const float4*>(
                p.residual + min(first_row + c, p.m - 1) * p.y_stride + near_column);
        }
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float(&t)[T::kTn] = total[i + c];
          if (first_row + c < p.m && first_column < p.n)
            *reinterpret_cast<float4*>(p.y + (first_row + c) * p.y_stride + first_column) =
                make_float4(finish(t[j], bias.x, r[c].x), finish(t[j + 1], bias.y, r[c].y),
                            finish(t[j + 2], bias.z, r[c].z), finish(t[j + 3], bias.w, r[c].w));
        }
      } else {
#pragma unroll
        for (int c = 0; c < 16; ++c) {
          const int at_row = first_row + c / 4, at_column = first_column + c % 4;
          if (at_row < p.m && at_column < p.n)
            write_output(p, total[i + c / 4][j + c % 4], at_row * p.y_stride + at_column,
                         at_column);
        }
      }
    }
  }
}

// Thread block (tile of rows, tile of columns, block of k if kApart).
template <WeightType kType, class T, bool kApart>
__global__ void __launch_bounds__(T::kThreads, T::kResident)
    tile_kernel(const __grid_constant__ Product p) {
  constexpr int kTm = T::kTm, kTn = T::kTn;
  extern __shared__ float4 shared[];
  float* const xs = reinterpret_cast<float*>(shared);
  float* const ws = xs + 2 * T::kXFloats;
  float4* const totals = shared + T::kStageFloats / 4 + threadIdx.x;  // [kTm kTn / 4][kThreads]

  // Half a warp reads four neighbouring vectors of x and four of w, two lanes share each.
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int lane_row = (lane >> 1 & 1) + (lane >> 3 & 1) * 2;
  const int lane_column = (lane & 1) + (lane >> 2 & 1) * 2 + (lane >> 4) * 4;
  const int tile_row = warp % (T::kBm / T::kWarpM) * T::kWarpM + lane_row * 4;
  const int tile_column = warp / (T::kBm / T::kWarpM) * T::kWarpN + lane_column * 4;
  const int row0 = static_cast<int>(blockIdx.x) * T::kBm;
  const int column0 = static_cast<int>(blockIdx.y) * T::kBn;

  const int first = kApart ? static_cast<int>(blockIdx.z) * kDotBlock : 0;
  const int padded = round_up(p.k, kWeightPad);
  const int end = kApart ? min(padded, first + kDotBlock) : padded;

  float acc[kTm][kTn] = {};
  TileLoader<kType, T> loader;
  loader.load(p, row0, column0, first);
  loader.store(xs, ws);
  __syncthreads();

  int stage = 0;
  for (int k0 = first; k0 < end; k0 += T::kBk) {
    const bool more = k0 + T::kBk < end;
    if (more) loader.load(p, row0, column0, k0 + T::kBk);

    const float* const x = xs + stage * T::kXFloats + tile_row;
    const float* const w = ws + stage * T::kWFloats + tile_column;
    float a[2][kTm], b[2][kTn];
    load_fragment<kTm, 16>(x, a[0]);
    load_fragment<kTn, 32>(w, b[0]);
#pragma unroll
    for (int kk = 0; kk < T::kBk; ++kk) {
      if (kk + 1 < T::kBk) {
        load_fragment<kTm, 16>(x + (kk + 1) * T::kXStride, a[(kk + 1) % 2]);
        load_fragment<kTn, 32>(w + (kk + 1) * T::kBn, b[(kk + 1) % 2]);
      }
#pragma unroll
      for (int i = 0; i < kTm; ++i)
#pragma unroll
        for (int j = 0; j < kTn; ++j) acc[i][j] = __fmaf_rn(a[kk % 2][i], b[kk % 2][j], acc[i][j]);
    }

    if (more) {
      stage ^= 1;
      loader.store(xs + stage * T::kXFloats, ws + stage * T::kWFloats);
      __syncthreads();
    }
    if (!kApart && (!more || (k0 + T::kBk) % kDotBlock == 0)) {
      // A block of 512 ends: add it to the totals; the last sum stays in registers.
      const bool begun = k0 >= kDotBlock;
#pragma unroll
      for (int i = 0; i < kTm; ++i) {
#pragma unroll
        for (int j = 0; j < kTn; j += 4) {
          float4* const total = totals + (i * kTn + j) / 4 * T::kThreads;
          float(&c)[kTn] = acc[i];
          if (begun) {
            const float4 t = *total;
            c[j] = __fadd_rn(t.x, c[j]);
            c[j + 1] = __fadd_rn(t.y, c[j + 1]);
            c[j + 2] = __fadd_rn(t.z, c[j + 2]);
            c[j + 3] = __fadd_rn(t.w, c[j + 3]);
          }
          if (more) {
            *total = make_float4(c[j], c[j + 1], c[j + 2], c[j + 3]);
            c[j] = c[j + 1] = c[j + 2] = c[j + 3] = 0.0f;
          }
        }
      }
    }
  }

  if constexpr (kApart) {
    Product part = p;
    part.y = p.parts + int64_t{blockIdx.z} * p.m * p.n;
    part.y_stride = p.n;
    part.bias = part.residual = nullptr;
    write_tile<T>(part, acc, row0 + tile_row, column0 + tile_column);
  } else {
    write_tile<T>(p, acc, row0 + tile_row, column0 + tile_column);
  }
}

using Tile16x128 = Tile<16, 128, 32, 4, 8, 4>;
using Tile32x128 = Tile<32, 128, 32, 4, 8, 4>;
using Tile64x64 = Tile<64, 64, 16, 4, 8, 5>;
// Vectors of binary32 weights take twice the registers.
template <WeightType kType>
using Tile128x128 = Tile<128, 128, kType == WeightType::kF32 ? 8 : 16, 8, 8, 2>;

template <WeightType kType, class T, bool kApart>
void launch_tile(const Product& p, cudaStream_t stream) {
  const int64_t blocks = ceil_div(p.k, kDotBlock);
  const bool totals = !kApart && blocks > 1;
  const int bytes = 4 * (T::kStageFloats + (totals ? T::kTotalFloats : 0));
  const auto kernel = tile_kernel<kType, T, kApart>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "shared memory of a matrix product");
  const dim3 grid(static_cast<unsigned>(ceil_div(p.m, T::kBm)),
                  static_cast<unsigned>(ceil_div(p.n, T::kBn)),
                  static_cast<unsigned>(kApart ? blocks : 1));
  kernel<<<grid, T::kThreads, static_cast<size_t>(bytes), stream>>>(p);
  check_launch("tile_kernel");
}

}  // namespace kvx::gpu
