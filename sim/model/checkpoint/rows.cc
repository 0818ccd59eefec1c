// Rows of stored tensors, in rotate-half order.
#include <cassert>
#include <cstring>

#include "sim/model/checkpoint.h"
#include "sim/model/checkpoint/blocks.h"

namespace kvx::model {
namespace {

const std::byte* stored_row(const TensorRef& tensor, int64_t row) {
  assert(row >= 0 && row < tensor.rows);
  if (tensor.rotate_half_heads > 0) {
    const int64_t d = tensor.rows / tensor.rotate_half_heads;
    const int64_t i = row % d;
    row += i < d / 2 ? i : i - d + 1;  // h*d + i to h*d + 2i, h*d + d/2 + i to h*d + 2i + 1
  }
  const BlockShape shape = block_shape(tensor.dtype);
  const int64_t length = tensor.cols / shape.values * shape.bytes;
  assert(tensor.bytes.size() == static_cast<size_t>(length * tensor.rows));
  return tensor.bytes.data() + length * row;
}

}  // namespace

void read_row(const TensorRef& tensor, int64_t row, std::span<float> out) {
  assert(out.size() == static_cast<size_t>(tensor.cols));
  decode_blocks(tensor.dtype, stored_row(tensor, row), out);
}

void read_row_bits(const TensorRef& tensor, int64_t row, std::span<uint16_t> out) {
  assert(tensor.dtype == DType::kF16 || tensor.dtype == DType::kBf16);
  assert(out.size() == static_cast<size_t>(tensor.cols));
  std::memcpy(out.data(), stored_row(tensor, row), out.size_bytes());
}

}  // namespace kvx::model
