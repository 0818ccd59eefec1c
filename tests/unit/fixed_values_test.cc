// The check values of fixed.md, section 4: each step of the first tile, and outputs.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "sim/num/fixed.h"
#include "sim/num/fixed_rows.h"
#include "sim/num/fixed_steps.h"
#include "tests/support/fixed_case.h"

namespace kvx::num::fixed {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

TEST(FixedValues, StepsOfOneTile) {
  const test::FixedCase c = test::fixed_page_case(8, 2, 5);
  const float factor = score_factor(8);

  const QueryDigits digits = query_digits(c.q, c.k.scale.data());
  EXPECT_EQ(digits.e, -2);
  EXPECT_EQ((std::vector<int32_t>(digits.y.begin(), digits.y.begin() + 8)),
            (std::vector<int32_t>{-7680, 14336, 18432, 20480, 20480, 18432, 14336, 1024}));
  const float zc = zero_sum(c.q, c.k.zero.data()) * factor;
  EXPECT_EQ(bits(zc), 0x3faf76c8u);

  std::array<float, kTile> x{}, scale{}, zero{};
  std::array<bool, kTile> visible{};
  std::vector<int32_t> sums;
  for (size_t t = 0; t < 5; ++t) {
    int32_t s = 0;
    for (size_t j = 0; j < 8; ++j) s += c.k.codes[t * 8 + j] * digits.y[j];
    sums.push_back(s);
    x[t] = std::fma(static_cast<float>(s), factor * power(digits.e - 14), zc);
    visible[t] = true;
    scale[t] = c.v.scale[t];
    zero[t] = c.v.zero[t];
  }
  EXPECT_EQ(sums, (std::vector<int32_t>{185344, 154112, 122880, 136704, 185344}));
  const uint32_t scores[] = {0x40340dfb, 0x40247f5b, 0x4014f0bc, 0x401bd389, 0x40340dfb};
  for (size_t t = 0; t < 5; ++t) EXPECT_EQ(bits(x[t]), scores[t]) << t;

  const Weights w = weights(x, visible);
  EXPECT_EQ(w.m, 3);
  EXPECT_EQ(w.l, 7975131);
  const uint32_t p[] = {0x49e0ef12, 0x49be0dee, 0x49a095d9, 0x49ad04f2, 0x49e0ef12, 0};
  for (size_t t = 0; t < 6; ++t) EXPECT_EQ(bits(w.p[t]), p[t]) << t;

  const ValueDigits v = value_digits(w.p, scale, zero);
  EXPECT_EQ(v.eu, -1);
  EXPECT_EQ((std::vector<int32_t>(v.digits.begin(), v.digits.begin() + 6)),
            (std::vector<int32_t>{7198, 12163, 15416, 22146, 35989, 0}));
  EXPECT_EQ(v.ez, 0);
  EXPECT_EQ(v.zi, -476992);
  const int32_t products[] = {89467, 133727, 164975, 169303};
  for (size_t j = 0; j < 4; ++j) {
    int32_t sum = 0;
    for (size_t t = 0; t < 5; ++t) sum += v.digits[t] * c.v.codes[t * 8 + j];
    EXPECT_EQ(sum, products[j]) << j;
  }
}

TEST(FixedValues, OneTile) {
  const std::vector<RowRead> rows{{0, 5}};
  for (const auto attend : {&plain::attend, &fixed::attend}) {
    const std::vector<float> out =
        test::fixed_attend(attend, test::fixed_page_case(8, 2, 5), rows, rows);
    const uint32_t expected[] = {0xbdf4ba0a, 0x3d6df6b3, 0x3e3be1c1, 0x3e4daa24};
    for (size_t j = 0; j < 8; ++j) EXPECT_EQ(bits(out[j]), expected[j % 4]) << j;
  }
}

struct Value {
  int dim, bits;
  int64_t begin, end;
  uint32_t first, last;
};
constexpr Value kValues[] = {
    {128, 2, 0, 1, 0xbf9fffeb, 0xbf5fffcc},    {128, 2, 0, 128, 0x3c9954f3, 0x3d8f551e},
    {128, 2, 0, 129, 0x3ca41b16, 0x3da2e5d3},  {128, 2, 0, 1500, 0x3d067a2d, 0x3da7ac12},
    {128, 2, 0, 9000, 0x3d0d4d89, 0x3daa2521}, {128, 2, 300, 9000, 0x3d0dc903, 0x3daa5945},
    {128, 4, 0, 1500, 0x3fa8da11, 0x4005c0df}, {128, 4, 0, 9000, 0x3fa84bcc, 0x40043a1a},
    {64, 4, 0, 1500, 0x3f932237, 0x407ed297},  {128, 8, 0, 1500, 0x421523a2, 0x4204221f},
};

TEST(FixedValues, Outputs) {
  for (const Value& value : kValues) {
    const test::FixedCase c = test::fixed_page_case(value.dim, value.bits, value.end);
    const std::vector<RowRead> rows{{value.begin, value.end - value.begin}};
    for (const auto attend : {&plain::attend, &fixed::attend}) {
      const std::vector<float> out = test::fixed_attend(attend, c, rows, rows);
      EXPECT_EQ(bits(out.front()), value.first)
          << value.dim << " " << value.bits << " " << value.end;
      EXPECT_EQ(bits(out.back()), value.last) << value.dim << " " << value.bits << " " << value.end;
    }
  }
}

TEST(FixedValues, NoVisibleRow) {
  const test::FixedCase c = test::fixed_page_case(64, 2, 1);
  for (const auto attend : {&plain::attend, &fixed::attend})
    for (const float x : test::fixed_attend(attend, c, {}, {})) EXPECT_EQ(bits(x), 0u);
}

}  // namespace
}  // namespace kvx::num::fixed
