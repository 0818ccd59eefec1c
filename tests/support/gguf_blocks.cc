#include "tests/support/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "sim/model/checkpoint/blocks.h"
#include "sim/num/formats.h"
#include "tests/support/model_writer.h"

namespace kvx::test {
namespace {

using model::DType;

std::string encode_f16(float x) { return le_bytes(num::f16_encode(x)); }
float rounded_f16(float x) { return num::f16_decode(num::f16_encode(x)); }

int code_of(float x, float step, int low, int high) {
  return step == 0 ? 0 : std::clamp(static_cast<int>(std::lround(x / step)), low, high);
}

std::string q8_0(const float* x) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::max(amax, std::fabs(x[i]));
  const float d = amax / 127.0f;
  const float id = d != 0 ? 1.0f / d : 0;
  std::string out = encode_f16(d);
  for (int i = 0; i < 32; ++i) out += static_cast<char>(static_cast<int8_t>(std::round(x[i] * id)));
  return out;
}

// 32 codes: bit 4 of each in four bytes (five-bit types), then the nibbles j and j + 16 by bytes.
std::string pack_codes(const int* codes, bool five_bits) {
  uint32_t high = 0;
  for (int j = 0; j < 32; ++j) high |= static_cast<uint32_t>(codes[j] >> 4 & 1) << j;
  std::string out = five_bits ? le_bytes(high) : "";
  for (int j = 0; j < 16; ++j)
    out += static_cast<char>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
  return out;
}

// Q4_0 and Q5_0: the value furthest from zero becomes the lowest code.
std::string symmetric(const float* x, int levels) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  const float half = static_cast<float>(levels / 2);
  const float d = extreme / -half;
  const float id = d != 0 ? 1.0f / d : 0;
  int codes[32];
  for (int i = 0; i < 32; ++i)
    codes[i] = std::min(levels - 1, static_cast<int>(x[i] * id + half + 0.5f));
  return encode_f16(d) + pack_codes(codes, levels == 32);
}

// Q4_1 and Q5_1.
std::string asymmetric(const float* x, int levels) {
  const float low = *std::min_element(x, x + 32);
  const float d = (*std::max_element(x, x + 32) - low) / static_cast<float>(levels - 1);
  const float id = d != 0 ? 1.0f / d : 0;
  int codes[32];
  for (int i = 0; i < 32; ++i)
    codes[i] = std::min(levels - 1, static_cast<int>((x[i] - low) * id + 0.5f));
  return encode_f16(d) + encode_f16(low) + pack_codes(codes, levels == 32);
}

// Q4_K and Q5_K: eight parts of 32 with a scale and a minimum of six bits each.
std::string k_with_minimum(const float* x, int levels) {
  std::array<float, 8> step, minimum;
  for (size_t p = 0; p < 8; ++p) {
    minimum[p] = -std::min(0.0f, *std::min_element(x + 32 * p, x + 32 * p + 32));
    step[p] = (*std::max_element(x + 32 * p, x + 32 * p + 32) + minimum[p]) /
              static_cast<float>(levels - 1);
  }
  const float d = rounded_f16(*std::ranges::max_element(step) / 63.0f);
  const float dmin = rounded_f16(*std::ranges::max_element(minimum) / 63.0f);
  std::array<int, 8> sc, mn;
  std::array<int, 256> codes;
  for (size_t p = 0; p < 8; ++p) {
    sc[p] = code_of(step[p], d, 0, 63);
    mn[p] = code_of(minimum[p], dmin, 0, 63);
    for (size_t i = 32 * p; i < 32 * p + 32; ++i)
      codes[i] = code_of(x[i] + dmin * static_cast<float>(mn[p]), d * static_cast<float>(sc[p]), 0,
                         levels - 1);
  }
  std::string out = encode_f16(d) + encode_f16(dmin);
  for (size_t i = 0; i < 4; ++i) out += static_cast<char>(sc[i] | (sc[i + 4] >> 4) << 6);
  for (size_t i = 0; i < 4; ++i) out += static_cast<char>(mn[i] | (mn[i + 4] >> 4) << 6);
  for (size_t i = 4; i < 8; ++i) out += static_cast<char>((sc[i] & 15) | (mn[i] & 15) << 4);
  for (size_t j = 0; levels == 32 && j < 32; ++j) {
    int high = 0;
    for (size_t p = 0; p < 8; ++p) high |= (codes[32 * p + j] >> 4) << p;
    out += static_cast<char>(high);
  }
  for (size_t pair = 0; pair < 4; ++pair) {
    for (size_t j = 0; j < 32; ++j)
      out += static_cast<char>((codes[64 * pair + j] & 15) | (codes[64 * pair + 32 + j] & 15) << 4);
  }
  return out;
}

// Q6_K: sixteen parts of 16 with a signed scale each.
std::string q6_k(const float* x) {
  std::array<float, 16> step;
  for (size_t p = 0; p < 16; ++p) {
    float amax = 0;
    for (size_t i = 16 * p; i < 16 * p + 16; ++i) amax = std::max(amax, std::fabs(x[i]));
    step[p] = amax / 31.0f;
  }
  const float d = rounded_f16(*std::ranges::max_element(step) / 127.0f);
  std::string scales;
  std::array<int, 256> codes;
  for (size_t p = 0; p < 16; ++p) {
    const int sc = code_of(step[p], d, 0, 127);
    scales += static_cast<char>(sc);
    for (size_t i = 16 * p; i < 16 * p + 16; ++i)
      codes[i] = code_of(x[i], d * static_cast<float>(sc), -32, 31) + 32;
  }
  std::string low, high;
  for (size_t half = 0; half < 256; half += 128) {
    for (size_t j = half; j < half + 64; ++j)
      low += static_cast<char>((codes[j] & 15) | (codes[j + 64] & 15) << 4);
    for (size_t j = half; j < half + 32; ++j)
      high += static_cast<char>(codes[j] >> 4 | codes[j + 32] >> 4 << 2 | codes[j + 64] >> 4 << 4 |
                                codes[j + 96] >> 4 << 6);
  }
  return low + high + scales + encode_f16(d);
}

std::string encode_block(const float* x, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return le_bytes(*x);
    case DType::kF16:
      return encode_f16(*x);
    case DType::kBf16:
      return le_bytes(num::bf16_encode(*x));
    case DType::kQ8_0:
      return q8_0(x);
    case DType::kQ4_0:
      return symmetric(x, 16);
    case DType::kQ5_0:
      return symmetric(x, 32);
    case DType::kQ4_1:
      return asymmetric(x, 16);
    case DType::kQ5_1:
      return asymmetric(x, 32);
    case DType::kQ4_K:
      return k_with_minimum(x, 16);
    case DType::kQ5_K:
      return k_with_minimum(x, 32);
    case DType::kQ6_K:
      return q6_k(x);
  }
  throw std::logic_error("no such type");
}

}  // namespace

uint32_t gguf_type(DType dtype) {
  constexpr std::array<uint32_t, 11> kNumbers = {0, 1, 30, 8, 2, 3, 6, 7, 12, 13, 14};
  return kNumbers[static_cast<size_t>(dtype)];
}

std::string encode_row(const float* row, int64_t cols, DType dtype) {
  std::string out;
  for (int64_t i = 0; i < cols; i += model::block_shape(dtype).values)
    out += encode_block(row + i, dtype);
  return out;
}

}  // namespace kvx::test
