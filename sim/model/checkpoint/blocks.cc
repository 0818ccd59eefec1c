#include "sim/model/checkpoint/blocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "sim/num/formats.h"

namespace kvx::model {
namespace {

using Bytes = const uint8_t*;

float read_f16(Bytes from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return num::f16_decode(bits);
}

uint32_t read_u32(Bytes from) {
  uint32_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

void q8_0(Bytes block, float* out) {
  const float d = read_f16(block);
  std::array<int8_t, 32> codes;
  std::memcpy(codes.data(), block + 2, codes.size());
  for (size_t j = 0; j < codes.size(); ++j) out[j] = static_cast<float>(codes[j]) * d;
}

void q4_0(Bytes block, float* out) {
  const float d = read_f16(block);
  const Bytes codes = block + 2;
  for (size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((codes[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((codes[j] >> 4) - 8) * d;
  }
}

void q4_1(Bytes block, float* out) {
  const float d = read_f16(block);
  const float m = read_f16(block + 2);
  const Bytes codes = block + 4;
  for (size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(codes[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(codes[j] >> 4) * d + m;
  }
}

// Codes of five bits: four of `codes`, the fifth is bit j of `high` for value j.
struct FiveBits {
  int low, high;
};
FiveBits five_bits(Bytes codes, uint32_t high, size_t j) {
  return {(codes[j] & 15) | static_cast<int>(high >> j & 1) << 4,
          (codes[j] >> 4) | static_cast<int>(high >> (j + 16) & 1) << 4};
}

void q5_0(Bytes block, float* out) {
  const float d = read_f16(block);
  const uint32_t high = read_u32(block + 2);
  for (size_t j = 0; j < 16; ++j) {
    const FiveBits code = five_bits(block + 6, high, j);
    out[j] = static_cast<float>(code.low - 16) * d;
    out[j + 16] = static_cast<float>(code.high - 16) * d;
  }
}

void q5_1(Bytes block, float* out) {
  const float d = read_f16(block);
  const float m = read_f16(block + 2);
  const uint32_t high = read_u32(block + 4);
  for (size_t j = 0; j < 16; ++j) {
    const FiveBits code = five_bits(block + 8, high, j);
    out[j] = static_cast<float>(code.low) * d + m;
    out[j + 16] = static_cast<float>(code.high) * d + m;
  }
}

// Scale and minimum of the eight parts of 32 values of a Q4_K or Q5_K block.
struct Parts {
  std::array<float, 8> scale, minimum;

  explicit Parts(Bytes block) {
    const float d = read_f16(block);
    const float dmin = read_f16(block + 2);
    const Bytes packed = block + 4;
    for (size_t i = 0; i < 4; ++i) {
      const Bytes p = packed + i;
      scale[i] = d * static_cast<float>(p[0] & 63);
      minimum[i] = dmin * static_cast<float>(p[4] & 63);
      scale[i + 4] = d * static_cast<float>((p[8] & 15) | (p[0] >> 6) << 4);
      minimum[i + 4] = dmin * static_cast<float>((p[8] >> 4) | (p[4] >> 6) << 4);
    }
  }
};

void q4_k(Bytes block, float* out) {
  const Parts parts(block);
  for (size_t pair = 0; pair < 4; ++pair, out += 64) {
    const Bytes codes = block + 16 + 32 * pair;
    for (size_t j = 0; j < 32; ++j) {
      out[j] = parts.scale[2 * pair] * static_cast<float>(codes[j] & 15) - parts.minimum[2 * pair];
      out[j + 32] = parts.scale[2 * pair + 1] * static_cast<float>(codes[j] >> 4) -
                    parts.minimum[2 * pair + 1];
    }
  }
}

void q5_k(Bytes block, float* out) {
  const Parts parts(block);
  const Bytes high = block + 16;
  for (size_t pair = 0; pair < 4; ++pair, out += 64) {
    const Bytes codes = block + 48 + 32 * pair;
    const size_t low_part = 2 * pair, high_part = low_part + 1;
    for (size_t j = 0; j < 32; ++j) {
      const int a = (codes[j] & 15) | (high[j] >> low_part & 1) << 4;
      const int b = (codes[j] >> 4) | (high[j] >> high_part & 1) << 4;
      out[j] = parts.scale[low_part] * static_cast<float>(a) - parts.minimum[low_part];
      out[j + 32] = parts.scale[high_part] * static_cast<float>(b) - parts.minimum[high_part];
    }
  }
}

void q6_k(Bytes block, float* out) {
  const float d = read_f16(block + 208);
  for (size_t half = 0; half < 2; ++half, out += 128) {
    const Bytes low = block + 64 * half;
    const Bytes high = block + 128 + 32 * half;
    std::array<int8_t, 8> scales;  // of 16 values each
    std::memcpy(scales.data(), block + 192 + 8 * half, scales.size());
    for (size_t part = 0; part < 4; ++part) {  // of 32 values
      const Bytes nibbles = low + 32 * (part % 2);
      for (size_t j = 0; j < 32; ++j) {
        const int code = (nibbles[j] >> 4 * (part / 2) & 15) | (high[j] >> 2 * part & 3) << 4;
        out[32 * part + j] =
            d * static_cast<float>(scales[2 * part + j / 16]) * static_cast<float>(code - 32);
      }
    }
  }
}

void each_block(DType dtype, const std::byte* from, std::span<float> out,
                void (*decode)(Bytes, float*)) {
  const BlockShape shape = block_shape(dtype);
  assert(out.size() % static_cast<size_t>(shape.values) == 0);
  Bytes block = reinterpret_cast<Bytes>(from);
  for (size_t at = 0; at < out.size();
       at += static_cast<size_t>(shape.values), block += shape.bytes)
    decode(block, out.data() + at);
}

void widen(const std::byte* from, std::span<float> out,
           void (*decode)(std::span<const uint16_t>, std::span<float>)) {
  std::array<uint16_t, 1024> bits;  // aligned, as the file need not be
  for (size_t at = 0; at < out.size(); at += bits.size()) {
    const size_t count = std::min(bits.size(), out.size() - at);
    std::memcpy(bits.data(), from + 2 * at, 2 * count);
    decode(std::span(bits).first(count), out.subspan(at, count));
  }
}

}  // namespace

BlockShape block_shape(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {1, 4};
    case DType::kF16:
    case DType::kBf16:
      return {1, 2};
    case DType::kQ8_0:
      return {32, 34};
    case DType::kQ4_0:
      return {32, 18};
    case DType::kQ4_1:
      return {32, 20};
    case DType::kQ5_0:
      return {32, 22};
    case DType::kQ5_1:
      return {32, 24};
    case DType::kQ4_K:
      return {256, 144};
    case DType::kQ5_K:
      return {256, 176};
    case DType::kQ6_K:
      return {256, 210};
  }
  return {1, 0};
}

void decode_blocks(DType dtype, const std::byte* from, std::span<float> out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out.data(), from, out.size_bytes());
      break;
    case DType::kF16:
      widen(from, out, num::f16_decode);
      break;
    case DType::kBf16:
      widen(from, out, num::bf16_decode);
      break;
    case DType::kQ8_0:
      each_block(dtype, from, out, q8_0);
      break;
    case DType::kQ4_0:
      each_block(dtype, from, out, q4_0);
      break;
    case DType::kQ4_1:
      each_block(dtype, from, out, q4_1);
      break;
    case DType::kQ5_0:
      each_block(dtype, from, out, q5_0);
      break;
    case DType::kQ5_1:
      each_block(dtype, from, out, q5_1);
      break;
    case DType::kQ4_K:
      each_block(dtype, from, out, q4_k);
      break;
    case DType::kQ5_K:
      each_block(dtype, from, out, q5_k);
      break;
    case DType::kQ6_K:
      each_block(dtype, from, out, q6_k);
      break;
  }
}

}  // namespace kvx::model
