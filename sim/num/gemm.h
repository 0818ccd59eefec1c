// Matrix products in the canonical order (ieee.md, 2.1): every output is a dot product in blocks of
// 512, whatever is computed beside it. Both operands are packed once; the work is cut into
// independent tasks that a caller may run on any threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace kvx::num {

enum class WeightType : uint8_t { kF32, kF16, kBf16 };

// Outputs (rows of W) whose weights lie side by side.
inline constexpr int kPanel = 32;

struct AlignedFree {
  void operator()(void* p) const;
};
template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedFree>;
// 64-byte aligned, uninitialised. Throws std::bad_alloc.
AlignedArray<std::byte> aligned_bytes(size_t bytes);
AlignedArray<float> aligned_floats(size_t count);

// W [n][k] as panels [ceil(n/32)][k][32] in the stored type; missing outputs of the last panel are
// zeros.
class PackedWeights {
 public:
  PackedWeights() = default;
  PackedWeights(int64_t n, int64_t k, WeightType type);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  WeightType type() const { return type_; }
  int64_t panels() const { return (n_ + kPanel - 1) / kPanel; }

  // Fills panel p from its up to 32 rows of W, row-major [rows][k]. Panels may be filled from
  // different threads.
  void set_panel(int64_t p, const float* rows);
  void set_panel(int64_t p, const uint16_t* rows);  // f16 or bf16 patterns

  const std::byte* panel(int64_t p) const { return data_.get() + p * panel_bytes(); }

  // W^T [k][n] in the same type.
  PackedWeights transposed() const;

  // Row `row` of W widened to binary32, to out [k] (embedding look-up of a tied model).
  void row(int64_t row, std::span<float> out) const;

 private:
  int64_t panel_bytes() const { return k_ * kPanel * (type_ == WeightType::kF32 ? 4 : 2); }

  int64_t n_ = 0;
  int64_t k_ = 0;
  WeightType type_ = WeightType::kF32;
  AlignedArray<std::byte> data_;
};

// X [m][k] in tiles of rows, for the instruction set active when it was made.
class PackedInput {
 public:
  // Makes room for m rows of k; keeps the storage of a larger one.
  void reshape(int64_t m, int64_t k);
  int64_t m() const { return m_; }
  int64_t k() const { return k_; }
  int64_t tiles() const { return tiles_; }
  int tile_rows() const { return tile_rows_; }

  // Fills tile t from x, row-major with `stride` elements from row to row. Tiles may be filled from
  // different threads.
  void set_tile(int64_t t, const float* x, int64_t stride);
  // The same from X^T, row-major [k][m] with `stride` elements from row to row.
  void set_tile_transposed(int64_t t, const float* x, int64_t stride);

  const float* tile(int64_t t) const { return data_.get() + t * tile_rows_ * k_; }

 private:
  int64_t m_ = 0;
  int64_t k_ = 0;
  int64_t tiles_ = 0;
  int tile_rows_ = 0;
  size_t capacity_ = 0;
  AlignedArray<float> data_;
};

// y [m][n] = x W^T, row-major with `stride` elements from row to row.
struct Gemm {
  const PackedInput* x = nullptr;
  const PackedWeights* w = nullptr;
  float* y = nullptr;
  int64_t stride = 0;
  int64_t tiles_per_task = 0;
  int64_t panels_per_task = 0;

  // Cuts the product for about `threads` threads.
  Gemm(const PackedInput& x, const PackedWeights& w, float* y, int64_t stride, int threads);
  int64_t tasks() const;
  void run(int64_t task) const;
};

}  // namespace kvx::num
