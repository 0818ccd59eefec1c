#include "sim/num/gemm_kernel.h"

#include "sim/num/gemm_simd.h"

namespace kvx::num::KVX_ISA {
namespace {

constexpr int64_t kBlock = 512;  // ieee.md, 2.1: the length of one chain

// y (+)= acc + last-block rule for the `columns` of y that exist.
template <int R>
inline void finish_tile(const F32 (&acc)[R][2], float* y, int64_t stride, int64_t columns,
                        bool first, bool last) {
  const F32 zero = F32::zero();
  for (int r = 0; r < R; ++r) {
    for (int half = 0; half < 2; ++half) {
      const int64_t left = columns - half * F32::kLanes;
      if (left <= 0) break;
      float* out = y + r * stride + half * F32::kLanes;
      F32 total = acc[r][half];
      if (left >= F32::kLanes) {
        if (!first) total = F32::load(out) + total;
        if (last) total = total + zero;
        total.store(out);
      } else {
        if (!first) total = F32::load_first(out, static_cast<int>(left)) + total;
        if (last) total = total + zero;
        total.store_first(out, static_cast<int>(left));
      }
    }
  }
}

template <class W>
void multiply_panel(const GemmBlock& block, int64_t tile, const W* panel, int64_t k0, int64_t steps,
                    float* y, int64_t columns) {
  const int64_t row = tile * kTileRows;
  const int rows = static_cast<int>(block.m - row < kTileRows ? block.m - row : kTileRows);
  const float* a = block.a + (tile * block.k + k0) * kTileRows;
  const bool first = k0 == 0;
  const bool last = k0 + steps == block.k;
  for (int64_t c = 0; c < kPanel && c < columns; c += kTileColumns) {
    with_rows(
        rows, [&](auto count) __attribute__((always_inline)) {
          constexpr int kRows = decltype(count)::kRows;
          F32 acc[kRows][2];
          for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = F32::zero();
          multiply_tile<kRows, 1, kTileRows>(a, panel + c, kPanel, steps, acc);
          finish_tile(acc, y + row * block.stride + c, block.stride, columns - c, first, last);
        });
  }
}

template <class W>
void widen(const W* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += F32::kLanes) load_weight(from + i).store(to + i);
}

template <class W>
void gemm_typed(const GemmBlock& block) {
  constexpr bool kNarrow = sizeof(W) == 2;
  // Widening pays where a panel is used by several tiles.
  const bool widens = kNarrow && block.last_tile - block.first_tile >= 3;
  alignas(64) float wide[kBlock * kPanel];
  const W* w = static_cast<const W*>(block.w);
  for (int64_t k0 = 0; k0 < block.k; k0 += kBlock) {
    const int64_t steps = block.k - k0 < kBlock ? block.k - k0 : kBlock;
    for (int64_t p = 0; p < block.panels; ++p) {
      const W* panel = w + (p * block.k + k0) * kPanel;
      const int64_t columns = block.columns - p * kPanel;
      float* y = block.y + p * kPanel;
      if (widens) {
        widen(panel, steps * kPanel, wide);
        for (int64_t t = block.first_tile; t < block.last_tile; ++t)
          multiply_panel(block, t, wide, k0, steps, y, columns);
      } else {
        for (int64_t t = block.first_tile; t < block.last_tile; ++t)
          multiply_panel(block, t, panel, k0, steps, y, columns);
      }
    }
  }
}

}  // namespace

int gemm_tile_rows() { return kTileRows; }

void gemm_pack_tile(const float* x, int64_t stride, int rows, int64_t k, float* out) {
  constexpr int kLanes = F32::kLanes;
  static_assert(kTileRows <= kLanes);
  int64_t i = 0;
  // Every store writes a whole vector; what it writes too much the next one overwrites, and the
  // last vector is left to the loop below.
  for (; i + kLanes < k; i += kLanes) {
    F32 block[kLanes];
    for (int r = 0; r < kLanes; ++r)
      block[r] = r < rows ? F32::load(x + r * stride + i) : F32::zero();
    transpose(block);
    for (int c = 0; c < kLanes - 1; ++c) block[c].store(out + (i + c) * kTileRows);
    block[kLanes - 1].store_first(out + (i + kLanes - 1) * kTileRows, kTileRows);
  }
  for (; i < k; ++i) {
    for (int r = 0; r < kTileRows; ++r)
      out[i * kTileRows + r] = r < rows ? x[r * stride + i] : 0.0f;
  }
}

void gemm_block(const GemmBlock& block) {
  switch (block.type) {
    case WeightType::kF32:
      return gemm_typed<float>(block);
    case WeightType::kF16:
      return gemm_typed<F16Bits>(block);
    case WeightType::kBf16:
      return gemm_typed<Bf16Bits>(block);
  }
}

}  // namespace kvx::num::KVX_ISA
