// Rows of stored tensors as binary32. Blocks of 32: an fp16 scale d, for Q4_1 an fp16 minimum m,
// then the codes; four-bit codes j and j + 16 share a byte, the lower in the low nibble.
#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "sim/model/checkpoint.h"
#include "sim/num/formats.h"

namespace kvx::model {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kChunk = 1024;  // 16-bit values widened at once

size_t row_bytes(DType dtype, size_t cols) {
  switch (dtype) {
    case DType::kF32:
      return 4 * cols;
    case DType::kF16:
    case DType::kBf16:
      return 2 * cols;
    case DType::kQ8_0:
      return cols / kBlock * 34;
    case DType::kQ4_0:
      return cols / kBlock * 18;
    case DType::kQ4_1:
      return cols / kBlock * 20;
  }
  return 0;
}

const std::byte* stored_row(const TensorRef& tensor, int64_t row) {
  assert(row >= 0 && row < tensor.rows);
  if (tensor.rotate_half_heads > 0) {
    const int64_t d = tensor.rows / tensor.rotate_half_heads;
    const int64_t i = row % d;
    row += i < d / 2 ? i : i - d + 1;  // h*d + i to h*d + 2i, h*d + d/2 + i to h*d + 2i + 1
  }
  const size_t length = row_bytes(tensor.dtype, static_cast<size_t>(tensor.cols));
  assert(tensor.bytes.size() == length * static_cast<size_t>(tensor.rows));
  return tensor.bytes.data() + length * static_cast<size_t>(row);
}

float read_f16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return num::f16_decode(bits);
}

using Widen = void (*)(std::span<const uint16_t>, std::span<float>);

void widen_row(const std::byte* from, std::span<float> out, Widen widen) {
  std::array<uint16_t, kChunk> bits;  // the file may hold them at any alignment
  for (size_t at = 0; at < out.size(); at += kChunk) {
    const size_t count = std::min(kChunk, out.size() - at);
    std::memcpy(bits.data(), from + 2 * at, 2 * count);
    widen(std::span(bits).first(count), out.subspan(at, count));
  }
}

void read_q8_0(const std::byte* from, std::span<float> out) {
  for (size_t at = 0; at < out.size(); at += kBlock, from += 34) {
    const float d = read_f16(from);
    std::array<int8_t, kBlock> codes;
    std::memcpy(codes.data(), from + 2, kBlock);
    for (size_t j = 0; j < kBlock; ++j) out[at + j] = static_cast<float>(codes[j]) * d;
  }
}

void read_q4_0(const std::byte* from, std::span<float> out) {
  for (size_t at = 0; at < out.size(); at += kBlock, from += 18) {
    const float d = read_f16(from);
    std::array<uint8_t, kBlock / 2> codes;
    std::memcpy(codes.data(), from + 2, codes.size());
    for (size_t j = 0; j < codes.size(); ++j) {
      out[at + j] = static_cast<float>((codes[j] & 15) - 8) * d;
      out[at + j + 16] = static_cast<float>((codes[j] >> 4) - 8) * d;
    }
  }
}

void read_q4_1(const std::byte* from, std::span<float> out) {
  for (size_t at = 0; at < out.size(); at += kBlock, from += 20) {
    const float d = read_f16(from);
    const float m = read_f16(from + 2);
    std::array<uint8_t, kBlock / 2> codes;
    std::memcpy(codes.data(), from + 4, codes.size());
    for (size_t j = 0; j < codes.size(); ++j) {
      out[at + j] = static_cast<float>(codes[j] & 15) * d + m;
      out[at + j + 16] = static_cast<float>(codes[j] >> 4) * d + m;
    }
  }
}

}  // namespace

void read_row(const TensorRef& tensor, int64_t row, std::span<float> out) {
  assert(out.size() == static_cast<size_t>(tensor.cols));
  const std::byte* from = stored_row(tensor, row);
  switch (tensor.dtype) {
    case DType::kF32:
      std::memcpy(out.data(), from, out.size_bytes());
      break;
    case DType::kF16:
      widen_row(from, out, num::f16_decode);
      break;
    case DType::kBf16:
      widen_row(from, out, num::bf16_decode);
      break;
    case DType::kQ8_0:
      read_q8_0(from, out);
      break;
    case DType::kQ4_0:
      read_q4_0(from, out);
      break;
    case DType::kQ4_1:
      read_q4_1(from, out);
      break;
  }
}

void read_row_bits(const TensorRef& tensor, int64_t row, std::span<uint16_t> out) {
  assert(tensor.dtype == DType::kF16 || tensor.dtype == DType::kBf16);
  assert(out.size() == static_cast<size_t>(tensor.cols));
  std::memcpy(out.data(), stored_row(tensor, row), out.size_bytes());
}

}  // namespace kvx::model
