// Matrix products in the canonical order (ieee.md, 2.1) on the device: y = x W^T, every output a
// chain of fma over blocks of 512, blocks added in ascending order, whatever m, n and the launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gpu/common/memory.h"

namespace kvx::gpu {

enum class WeightType : uint8_t { kF32, kF16, kBf16 };
inline int64_t element_bytes(WeightType type) { return type == WeightType::kF32 ? 4 : 2; }

// W [n][k] in device memory as [padded k / v][n][v], v = 4 (kF32) or 8 values that fill 16 bytes;
// 16-bit weights stay 16 bits. k is padded to a multiple of 64 with zeros, which are neutral. Rows
// that were never set are undefined.
class DeviceWeights {
 public:
  DeviceWeights() = default;
  DeviceWeights(int64_t n, int64_t k, WeightType type);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  WeightType type() const { return type_; }
  const std::byte* data() const { return data_.get(); }
  int64_t bytes() const { return data_.bytes(); }
  static int64_t bytes(int64_t n, int64_t k, WeightType type);

  // Rows [first, first + count) from host memory, row-major in the stored type. Blocks until done.
  void set_rows(int64_t first, int64_t count, const void* rows);
  // W^T of rows [first, first + count): [k][count]. Blocks until done.
  DeviceWeights transposed(int64_t first, int64_t count) const;

 private:
  int64_t n_ = 0;
  int64_t k_ = 0;
  WeightType type_ = WeightType::kF32;
  DeviceArray<std::byte> data_;
};

struct MatmulArgs {
  const float* x = nullptr;  // device, [m][k] row-major, 16-byte aligned; nothing behind k is read
  int64_t x_stride = 0;      // elements from row to row; a multiple of 4
  const DeviceWeights* w = nullptr;
  float* y = nullptr;  // device, [m][n] row-major
  int64_t y_stride = 0;
  int64_t m = 0;
  const float* bias = nullptr;  // device, [n]: y = dot + bias
  const float* residual =
      nullptr;               // device, rows of y_stride: y = residual + (dot + bias); may be y
  float* scratch = nullptr;  // device, matmul_scratch_floats(m, n, k); without it slower at times
};

// Floats of scratch that products of these n and k and at most m rows can use; at most 8 Mi.
int64_t matmul_scratch_floats(int64_t m, int64_t n, int64_t k);
// Same bits for any m, n, kernel and scratch. Throws std::logic_error where x does not fit the
// rules above.
void matmul(const MatmulArgs& args, cudaStream_t stream);

// Rows tokens[i] of an embedding W [vocab][hidden], widened, to out [count][hidden]; tokens in
// device memory.
void gather_rows(const DeviceWeights& w, const int32_t* tokens, int64_t count, float* out,
                 cudaStream_t stream);

}  // namespace kvx::gpu
