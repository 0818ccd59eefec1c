#include "sim/num/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "sim/num/formats.h"
#include "sim/num/gemm_kernel.h"
#include "sim/num/isa.h"

namespace kvx::num {
namespace {

constexpr size_t kAlignment = 64;

void* aligned_storage(size_t bytes) {
  void* p = std::aligned_alloc(
      kAlignment, std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

template <class T>
void interleave_rows(const T* rows, int64_t count, int64_t k, T* panel) {
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t c = 0; c < kPanel; ++c) panel[i * kPanel + c] = c < count ? rows[c * k + i] : T{};
  }
}

}  // namespace

void AlignedFree::operator()(void* p) const { std::free(p); }

AlignedArray<std::byte> aligned_bytes(size_t bytes) {
  return AlignedArray<std::byte>(static_cast<std::byte*>(aligned_storage(bytes)));
}

AlignedArray<float> aligned_floats(size_t count) {
  return AlignedArray<float>(static_cast<float*>(aligned_storage(count * sizeof(float))));
}

PackedWeights::PackedWeights(int64_t n, int64_t k, WeightType type) : n_(n), k_(k), type_(type) {
  data_ = aligned_bytes(static_cast<size_t>(panels() * panel_bytes()));
}

void PackedWeights::set_panel(int64_t p, const float* rows) {
  interleave_rows(rows, std::min<int64_t>(kPanel, n_ - p * kPanel), k_,
                  reinterpret_cast<float*>(data_.get() + p * panel_bytes()));
}

void PackedWeights::set_panel(int64_t p, const uint16_t* rows) {
  interleave_rows(rows, std::min<int64_t>(kPanel, n_ - p * kPanel), k_,
                  reinterpret_cast<uint16_t*>(data_.get() + p * panel_bytes()));
}

PackedWeights PackedWeights::transposed() const {
  PackedWeights out(k_, n_, type_);
  const auto fill = [&]<class T>(T) {
    std::vector<T> rows(static_cast<size_t>(kPanel * n_));
    for (int64_t q = 0; q < out.panels(); ++q) {
      const int64_t first = q * kPanel, columns = std::min<int64_t>(kPanel, k_ - first);
      for (int64_t p = 0; p < panels(); ++p) {
        const T* from = reinterpret_cast<const T*>(panel(p)) + first * kPanel;
        const int64_t count = std::min<int64_t>(kPanel, n_ - p * kPanel);
        for (int64_t c = 0; c < columns; ++c)
          std::copy_n(from + c * kPanel, count, rows.data() + c * n_ + p * kPanel);
      }
      out.set_panel(q, rows.data());
    }
  };
  type_ == WeightType::kF32 ? fill(float{}) : fill(uint16_t{});
  return out;
}

void PackedWeights::row(int64_t row, std::span<float> out) const {
  const std::byte* first = panel(row / kPanel);
  const int64_t column = row % kPanel;
  for (int64_t i = 0; i < k_; ++i) {
    const int64_t at = i * kPanel + column;
    if (type_ == WeightType::kF32) {
      std::memcpy(&out[i], first + at * 4, 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, first + at * 2, 2);
      out[i] = type_ == WeightType::kF16 ? f16_decode(bits) : bf16_decode(bits);
    }
  }
}

void PackedInput::reshape(int64_t m, int64_t k) {
  tile_rows_ = active_isa() == Isa::kAvx512 ? avx512::gemm_tile_rows() : avx2::gemm_tile_rows();
  m_ = m;
  k_ = k;
  tiles_ = (m + tile_rows_ - 1) / tile_rows_;
  const size_t need = static_cast<size_t>(tiles_ * tile_rows_ * k);
  if (need > capacity_) {
    data_ = aligned_floats(need);
    capacity_ = need;
  }
}

void PackedInput::set_tile(int64_t t, const float* x, int64_t stride) {
  float* out = data_.get() + t * tile_rows_ * k_;
  const int64_t first = t * tile_rows_;
  const int rows = static_cast<int>(std::min<int64_t>(tile_rows_, m_ - first));
  const auto pack =
      tile_rows_ == avx512::gemm_tile_rows() ? avx512::gemm_pack_tile : avx2::gemm_pack_tile;
  pack(x + first * stride, stride, rows, k_, out);
}

void PackedInput::set_tile_transposed(int64_t t, const float* x, int64_t stride) {
  float* out = data_.get() + t * tile_rows_ * k_;
  const int64_t first = t * tile_rows_;
  const int64_t rows = std::min<int64_t>(tile_rows_, m_ - first);
  for (int64_t i = 0; i < k_; ++i, out += tile_rows_) {
    for (int64_t r = 0; r < rows; ++r) out[r] = x[i * stride + first + r];
    for (int64_t r = rows; r < tile_rows_; ++r) out[r] = 0.0f;
  }
}

Gemm::Gemm(const PackedInput& x_in, const PackedWeights& w_in, float* y_in, int64_t stride_in,
           int threads)
    : x(&x_in), w(&w_in), y(y_in), stride(stride_in) {
  // A task's rows stay in the second-level cache (about 192 rows of 512 columns) and its panels
  // stream; few rows are cut along the outputs instead.
  constexpr int64_t kTaskRows = 192;
  tiles_per_task =
      std::clamp<int64_t>(kTaskRows / x->tile_rows(), 1, std::max<int64_t>(1, x->tiles()));
  const int64_t row_tasks = (x->tiles() + tiles_per_task - 1) / tiles_per_task;
  const int64_t wanted = std::max<int64_t>(
      1, (int64_t{8} * threads + row_tasks - 1) / std::max<int64_t>(1, row_tasks));
  panels_per_task = std::max<int64_t>(1, (w->panels() + wanted - 1) / wanted);
}

int64_t Gemm::tasks() const {
  const int64_t row_tasks = (x->tiles() + tiles_per_task - 1) / tiles_per_task;
  return row_tasks * ((w->panels() + panels_per_task - 1) / panels_per_task);
}

void Gemm::run(int64_t task) const {
  const int64_t column_tasks = (w->panels() + panels_per_task - 1) / panels_per_task;
  const int64_t first_tile = task / column_tasks * tiles_per_task;
  const int64_t first_panel = task % column_tasks * panels_per_task;
  const GemmBlock block{.a = x->tile(0),
                        .first_tile = first_tile,
                        .last_tile = std::min(x->tiles(), first_tile + tiles_per_task),
                        .m = x->m(),
                        .k = x->k(),
                        .w = w->panel(first_panel),
                        .type = w->type(),
                        .panels = std::min(panels_per_task, w->panels() - first_panel),
                        .columns = w->n() - first_panel * kPanel,
                        .y = y + first_panel * kPanel,
                        .stride = stride};
  x->tile_rows() == avx512::gemm_tile_rows() ? avx512::gemm_block(block) : avx2::gemm_block(block);
}

}  // namespace kvx::num
