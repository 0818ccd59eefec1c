// The 8- and 4-bit float formats against their definition: the nearest of all codes, found by
// search in binary64.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "sim/num/formats.h"
#include "sim/num/minifloat.h"
#include "tests/support/minifloat.h"

namespace kvx::num {
namespace {

using test::kMinifloats;
using test::nearest_code;
using test::value_of;

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
float f32(uint32_t b) { return std::bit_cast<float>(b); }

class Minifloat : public testing::TestWithParam<test::MinifloatFormat> {};
INSTANTIATE_TEST_SUITE_P(, Minifloat, testing::ValuesIn(kMinifloats),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(Minifloat, EveryCodeDecodesToItsValueAndBack) {
  const test::MinifloatFormat& format = GetParam();
  const int codes = 2 * format.sign();
  for (int code = 0; code < codes; ++code) {
    const auto pattern = static_cast<uint8_t>(code);
    const int magnitude = code & (format.sign() - 1);
    const float x = format.decode(pattern);
    std::vector<float> spanned(1);
    format.decode_span(std::vector<uint8_t>{pattern}, spanned);
    if (magnitude > format.largest) {
      if (format.exponent_bits == 5 && magnitude == 0x7C) {
        EXPECT_EQ(x, code == 0x7C ? HUGE_VALF : -HUGE_VALF);
        EXPECT_EQ(spanned[0], x);
      } else {
        EXPECT_TRUE(std::isnan(x) && std::isnan(spanned[0])) << code;
      }
      continue;
    }
    EXPECT_EQ(static_cast<double>(x), value_of(format, code));
    EXPECT_EQ(std::signbit(x), code >= format.sign());
    EXPECT_EQ(bits(spanned[0]), bits(x));
    EXPECT_EQ(format.encode(x), code);
  }
}

TEST_P(Minifloat, EveryFp16InputAndTheSameInArrays) {
  const test::MinifloatFormat& format = GetParam();
  std::vector<float> x(65536);
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    x[pattern] = f16_decode(static_cast<uint16_t>(pattern));
  }
  std::vector<uint8_t> codes(x.size());
  format.encode_span(x, codes);
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    ASSERT_EQ(format.encode(x[pattern]), nearest_code(format, x[pattern])) << x[pattern];
    ASSERT_EQ(codes[pattern], format.encode(x[pattern])) << x[pattern];
  }
}

// Codes never fall as the magnitude grows, so that these points, with all between two of them
// equal, are the whole of binary32.
TEST_P(Minifloat, EveryBoundaryInBinary32) {
  const test::MinifloatFormat& format = GetParam();
  for (int code = 0; code < format.largest; ++code) {
    const double middle = (value_of(format, code) + value_of(format, code + 1)) / 2;
    const float at = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(at), middle);
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const int signed_code = code | (sign != 0 ? format.sign() : 0);
      for (const uint32_t b : {bits(at) - 1, bits(at), bits(at) + 1}) {
        ASSERT_EQ(format.encode(f32(b | sign)), nearest_code(format, f32(b | sign)));
      }
      ASSERT_EQ(format.encode(f32((bits(at) - 1) | sign)), signed_code);
      ASSERT_EQ(format.encode(f32((bits(at) + 1) | sign)), signed_code + 1);
    }
  }
  for (const uint32_t b : {0u, 1u, 0x007FFFFFu, 0x00800000u, 0x7F7FFFFFu, 0x7F800000u, 0x7F800001u,
                           0x7FC00000u, 0x7FFFFFFFu}) {
    ASSERT_EQ(format.encode(f32(b)), nearest_code(format, f32(b)));
    ASSERT_EQ(format.encode(f32(b | 0x80000000u)), nearest_code(format, f32(b | 0x80000000u)));
  }
}

TEST_P(Minifloat, MonotoneOverBinary32) {
  const test::MinifloatFormat& format = GetParam();
  constexpr uint32_t kStride = 4099;
  int last = 0;
  for (uint32_t b = 0; b <= 0x7F800000u; b += kStride) {
    const int code = format.encode(f32(b));
    ASSERT_GE(code, last);
    ASSERT_EQ(format.encode(f32(b | 0x80000000u)), code | format.sign());
    last = code;
  }
}

// Worked by hand: OFP8 and MX tables.
TEST(MinifloatVectors, E4m3) {
  const std::pair<float, int> cases[] = {
      {.1f, 0x1D},   {1.0625f, 0x38}, {1.1875f, 0x3A},  {17.f, 0x58},    {19.f, 0x5A},
      {448.f, 0x7E}, {464.f, 0x7E},   {-1e9f, 0xFE},    {0x1p-6f, 0x08}, {0x1p-9f, 0x01},
      {0x1p-10f, 0}, {0x1.8p-10f, 1}, {240.f, 0x77},    {-0.0f, 0x80},   {-0x1p-11f, 0x80},
      {NAN, 0x7F},   {-NAN, 0x7F},    {HUGE_VALF, 0x7E}};
  for (const auto& [x, code] : cases) EXPECT_EQ(e4m3_encode(x), code) << x;
  EXPECT_EQ(e4m3_decode(0x1D), .1015625f);
}

TEST(MinifloatVectors, E5m2) {
  const std::pair<float, int> cases[] = {
      {.1f, 0x2E},      {1.125f, 0x3C},  {1.375f, 0x3E},   {61440.f, 0x7B},    {0x1p-14f, 0x04},
      {0x1p-17f, 0x00}, {0x1.8p-17f, 1}, {3.14159f, 0x42}, {-HUGE_VALF, 0xFB}, {-NAN, 0x7F}};
  for (const auto& [x, code] : cases) EXPECT_EQ(e5m2_encode(x), code) << x;
  EXPECT_EQ(e5m2_decode(0x2E), .09375f);
}

TEST(MinifloatVectors, E2m1) {
  const std::pair<float, int> cases[] = {
      {.25f, 0}, {.26f, 1},  {.75f, 2}, {1.25f, 2}, {1.75f, 4}, {2.5f, 4}, {3.5f, 6},
      {5.f, 6},  {5.01f, 7}, {-.3f, 9}, {-0.f, 8},  {-.25f, 8}, {NAN, 7},  {-HUGE_VALF, 15}};
  for (const auto& [x, code] : cases) EXPECT_EQ(e2m1_encode(x), code) << x;
  const float values[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
  for (int code = 0; code < 8; ++code) {
    EXPECT_EQ(e2m1_decode(static_cast<uint8_t>(code)), values[code]);
    EXPECT_EQ(bits(e2m1_decode(static_cast<uint8_t>(code + 8))), bits(-values[code]));
  }
}

TEST(E8m0, EveryCode) {
  for (int code = 0; code < 255; ++code) {
    const auto pattern = static_cast<uint8_t>(code);
    const float x = e8m0_decode(pattern);
    ASSERT_EQ(static_cast<double>(x), std::ldexp(1.0, code - 127));
    ASSERT_EQ(e8m0_encode(x), code);
    ASSERT_EQ(e8m0_floor(x), code);
    // The midpoint to the next code is 1.5 times this one: the even code of both takes it.
    const float middle = 1.5f * x;
    const int up = std::min(code + 1, 254);
    ASSERT_EQ(e8m0_encode(middle), code % 2 == 0 ? code : up);
    ASSERT_EQ(e8m0_encode(std::nextafter(middle, 0.0f)), code);
    ASSERT_EQ(e8m0_encode(std::nextafter(middle, HUGE_VALF)), up);
    ASSERT_EQ(e8m0_floor(middle), code);
    ASSERT_EQ(e8m0_floor(std::nextafter(x, 0.0f)), std::max(code - 1, 0));
  }
  EXPECT_TRUE(std::isnan(e8m0_decode(0xFF)));
}

TEST(E8m0, WhatNoCodeHolds) {
  for (uint8_t (*encode)(float) : {e8m0_encode, e8m0_floor}) {
    EXPECT_EQ(encode(0.0f), 0x00);
    EXPECT_EQ(encode(-0.0f), 0x00);
    EXPECT_EQ(encode(0x1p-149f), 0x00);
    EXPECT_EQ(encode(-1.0f), 0xFF);
    EXPECT_EQ(encode(NAN), 0xFF);
    EXPECT_EQ(encode(std::numeric_limits<float>::max()), 0xFE);
  }
  EXPECT_EQ(e8m0_encode(HUGE_VALF), 0xFE);
  EXPECT_EQ(e8m0_floor(HUGE_VALF), 0xFF);
}

}  // namespace
}  // namespace kvx::num
