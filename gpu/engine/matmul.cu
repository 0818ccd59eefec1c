// Which kernel computes a matrix product.
#include <algorithm>
#include <stdexcept>

#include "gpu/common/check.h"
#include "gpu/common/processors.h"
#include "gpu/engine/matmul.h"
#include "gpu/engine/matmul_kernels.h"

namespace kvx::gpu {
namespace {

constexpr int64_t kMaxScratch = int64_t{8} << 20;

struct TileChoice {
  TileSize size;
  int rows, columns, warps, resident;
  double rate;  // of the peak with many warps: an estimate
};
constexpr TileChoice kTiles[] = {{TileSize::k16x128, 16, 128, 2, 4, 0.75},
                                 {TileSize::k32x128, 32, 128, 4, 4, 0.80},
                                 {TileSize::k64x64, 64, 64, 4, 5, 0.80},
                                 {TileSize::k128x128, 128, 128, 8, 2, 0.95}};

// With so few rows tiles take longer than cycles() says.
constexpr double kFewTiles = 1.25;

// Estimated cycles of launch_few_rows with up to four rows: memory at its best, and the way to it.
double few_rows_cycles(const DeviceWeights& w) {
  const double bytes = static_cast<double>(w.n() * w.k() * element_bytes(w.type()));
  return std::max(13000.0, 8000.0 + bytes / (13.0 * processors()));
}

// Whether W is small enough for launch_staged with m rows, as measured: larger ones are bound by
// shared memory there.
bool is_small(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kMi = int64_t{1} << 20;
  const int64_t size = n * k;
  if (m == 1) return size <= 10 * kMi;
  if (m <= kFewRows) return size <= 5 * kMi;
  return m <= 64 && size <= 2 * kMi && m * size <= 64 * kMi;
}

// Estimated cycles of the busiest multiprocessor.
double cycles(const TileChoice& tile, bool apart, int64_t m, int64_t n, int64_t k) {
  const int64_t blocks = ceil_div(k, kDotBlock);
  const int64_t tiles = ceil_div(m, tile.rows) * ceil_div(n, tile.columns) * (apart ? blocks : 1);
  const int64_t of_one = ceil_div(tiles, processors());
  const double depth = static_cast<double>(apart ? std::min<int64_t>(k, kDotBlock) : k);
  const double warps = static_cast<double>(std::min<int64_t>(of_one, tile.resident) * tile.warps);
  const double rate = tile.rate * warps / (warps + 2.0);
  double sum =
      static_cast<double>(of_one) * tile.rows * tile.columns * depth / (128.0 * rate) + 2000.0;
  if (apart)  // results of blocks, written and read, and a second kernel
    sum += static_cast<double>(2 * 4 * blocks * m * n) / (20.0 * processors()) + 3000.0;
  return sum;
}

}  // namespace

int64_t matmul_scratch_floats(int64_t m, int64_t n, int64_t k) {
  const int64_t blocks = ceil_div(k, kDotBlock);
  if (m <= kFewRows || blocks == 1) return 0;
  return std::min(kMaxScratch, blocks * m * n);
}

void matmul(const MatmulArgs& args, cudaStream_t stream) {
  if (args.m == 0) return;
  const DeviceWeights& w = *args.w;
  if (args.x_stride % 4 != 0 || reinterpret_cast<uintptr_t>(args.x) % 16 != 0)
    throw std::logic_error("matmul: rows of x are not aligned to 16 bytes");
  const Product p = {args.x,
                     args.x_stride,
                     reinterpret_cast<const uint4*>(w.data()),
                     args.y,
                     args.y_stride,
                     args.bias,
                     args.residual,
                     args.scratch,
                     static_cast<int>(args.m),
                     static_cast<int>(w.n()),
                     static_cast<int>(w.k())};
  StagedPlan staged;
  bool may_stage = is_small(args.m, w.n(), w.k());
  if (may_stage) {
    staged = plan_staged(args.m, w.n(), w.k(), w.type(), processors());
    may_stage = staged_fits(staged, w.k(), w.type());
  }
  if (args.m <= kFewRows) {
    if (may_stage && (args.m > 4 || staged.cycles < few_rows_cycles(w)))
      return launch_staged(p, w.type(), staged, stream);
    return launch_few_rows(p, w.type(), processors(), stream);
  }

  const int64_t parts = ceil_div(w.k(), kDotBlock) * args.m * w.n();
  const bool may_part = args.scratch != nullptr && w.k() > kDotBlock && parts <= kMaxScratch;
  TileSize size = TileSize::k128x128;
  bool apart = false;
  double best = 0.0;
  for (const TileChoice& tile : kTiles) {
    for (const bool split : {false, true}) {
      if (split && !may_part) continue;
      const double cost = cycles(tile, split, args.m, w.n(), w.k());
      if (best > 0.0 && cost >= best) continue;
      best = cost, size = tile.size, apart = split;
    }
  }
  if (may_stage && staged.cycles < kFewTiles * best)
    return launch_staged(p, w.type(), staged, stream);
  launch_tiles(p, w.type(), size, apart, stream);
  if (apart) launch_combine(p, stream);
}

}  // namespace kvx::gpu
