#include "gpu/engine/matmul_tiles.cuh"

namespace kvx::gpu {
namespace {

template <WeightType kType, bool kApart>
void launch_size(const Product& p, TileSize size, cudaStream_t stream) {
  switch (size) {
    case TileSize::k16x128:
      return launch_tile<kType, Tile16x128, kApart>(p, stream);
    case TileSize::k32x128:
      return launch_tile<kType, Tile32x128, kApart>(p, stream);
    case TileSize::k64x64:
      return launch_tile<kType, Tile64x64, kApart>(p, stream);
    case TileSize::k128x128:
      return launch_tile<kType, Tile128x128<kType>, kApart>(p, stream);
  }
}

template <WeightType kType>
void launch_type(const Product& p, TileSize size, bool apart, cudaStream_t stream) {
  if (apart) return launch_size<kType, true>(p, size, stream);
  launch_size<kType, false>(p, size, stream);
}

// One output a thread.
__global__ void combine_kernel(const __grid_constant__ Product p) {
  const int64_t outputs = int64_t{p.m} * p.n;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= outputs) return;
  const int row = static_cast<int>(i / p.n), column = static_cast<int>(i % p.n);
  const int blocks = (p.k + kDotBlock - 1) / kDotBlock;
  float total = p.parts[i];
#pragma unroll 4
  for (int b = 1; b < blocks; ++b) total = __fadd_rn(total, p.parts[b * outputs + i]);
  write_output(p, total, row * p.y_stride + column, column);
}

}  // namespace

void launch_tiles(const Product& p, WeightType type, TileSize size, bool apart,
                  cudaStream_t stream) {
  switch (type) {
    case WeightType::kF32:
      return launch_type<WeightType::kF32>(p, size, apart, stream);
    case WeightType::kF16:
      return launch_type<WeightType::kF16>(p, size, apart, stream);
    case WeightType::kBf16:
      return launch_type<WeightType::kBf16>(p, size, apart, stream);
  }
}

void launch_combine(const Product& p, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const int64_t outputs = int64_t{p.m} * p.n;
  combine_kernel<<<static_cast<unsigned>(ceil_div(outputs, kThreads)), kThreads, 0, stream>>>(p);
  check_launch("combine_kernel");
}

}  // namespace kvx::gpu
