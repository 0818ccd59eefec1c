#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "sim/gen/random.h"
#include "sim/num/formats.h"
#include "sim/num/pack.h"

namespace kvx::num {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
float f32(uint32_t b) { return std::bit_cast<float>(b); }

std::vector<uint16_t> every_pattern() {
  std::vector<uint16_t> all(65536);
  std::iota(all.begin(), all.end(), uint16_t{0});
  return all;
}

// The value of a pattern by its definition, in binary64.
double value_of(uint16_t pattern, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (pattern >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = pattern & ((1 << fraction_bits) - 1);
  const double sign = (pattern & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1)
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

struct Format {
  int exponent_bits;
  int fraction_bits;
  uint16_t (*encode)(float);
  float (*decode)(uint16_t);
  void (*decode_span)(std::span<const uint16_t>, std::span<float>);
  void (*encode_span)(std::span<const float>, std::span<uint16_t>);
  uint16_t infinity() const { return static_cast<uint16_t>(0x7FFF & ~((1 << fraction_bits) - 1)); }
};
constexpr Format kF16{5, 10, f16_encode, f16_decode, f16_decode, f16_encode};
constexpr Format kBf16{8, 7, bf16_encode, bf16_decode, bf16_decode, bf16_encode};

class Formats : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(, Formats, testing::Values(kF16, kBf16),
                         [](const testing::TestParamInfo<Format>& param) {
                           return param.param.exponent_bits == 5 ? "f16" : "bf16";
                         });

TEST_P(Formats, EveryPatternDecodesToItsValueAndBack) {
  const Format& format = GetParam();
  const std::vector<uint16_t> patterns = every_pattern();
  std::vector<float> decoded(patterns.size());
  std::vector<uint16_t> encoded(patterns.size());
  format.decode_span(patterns, decoded);
  format.encode_span(decoded, encoded);
  for (const uint16_t pattern : patterns) {
    const double value = value_of(pattern, format.exponent_bits, format.fraction_bits);
    const float x = format.decode(pattern);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(x) && std::isnan(decoded[pattern]));
      ASSERT_TRUE(std::signbit(x) == ((pattern & 0x8000) != 0));
      // A signalling NaN comes back quiet, the rest of its payload kept.
      const uint16_t quiet = static_cast<uint16_t>(pattern | (1 << (format.fraction_bits - 1)));
      ASSERT_EQ(format.encode(x), quiet);
      ASSERT_EQ(encoded[pattern], quiet);
      continue;
    }
    ASSERT_EQ(static_cast<double>(x), value);
    ASSERT_EQ(std::signbit(x), (pattern & 0x8000) != 0);
    ASSERT_EQ(bits(decoded[pattern]), bits(x));
    ASSERT_EQ(format.encode(x), pattern);
    ASSERT_EQ(encoded[pattern], pattern);
  }
}

// Between neighbours a < b the midpoint goes to the even one, everything on either side to the
// nearer.
TEST_P(Formats, EveryMidpointAndItsNeighbours) {
  const Format& format = GetParam();
  for (uint32_t a = 0; a < format.infinity(); ++a) {
    const double low =
        value_of(static_cast<uint16_t>(a), format.exponent_bits, format.fraction_bits);
    const bool last = a + 1u == format.infinity();
    const double step =
        low - value_of(static_cast<uint16_t>(a - 1), format.exponent_bits, format.fraction_bits);
    const double high =
        last ? low + step
             : value_of(static_cast<uint16_t>(a + 1), format.exponent_bits, format.fraction_bits);
    const double middle = (low + high) / 2;
    const float mid = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(mid), middle);
    const uint16_t even = static_cast<uint16_t>(a % 2 == 0 ? a : a + 1);
    const uint16_t expected[] = {static_cast<uint16_t>(a), even, static_cast<uint16_t>(a + 1)};
    const float inputs[] = {f32(bits(mid) - 1), mid, f32(bits(mid) + 1)};
    for (int i = 0; i < 3; ++i)
      for (const uint16_t sign : {0x0000, 0x8000}) {
        const float x = sign != 0 ? -inputs[i] : inputs[i];
        ASSERT_EQ(format.encode(x), expected[i] | sign) << std::hexfloat << x;
        const std::vector<float> many(9, x);  // vector and remainder
        std::vector<uint16_t> out(many.size());
        if (a % 64 == 0 || last) {
          format.encode_span(many, out);
          ASSERT_EQ(out,
                    std::vector<uint16_t>(many.size(), static_cast<uint16_t>(expected[i] | sign)));
        }
      }
  }
}

TEST_P(Formats, EndsOfTheRange) {
  const Format& format = GetParam();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(format.encode(infinity), format.infinity());
  EXPECT_EQ(format.encode(-infinity), format.infinity() | 0x8000);
  EXPECT_EQ(format.encode(std::numeric_limits<float>::max()), format.infinity());
  EXPECT_EQ(format.encode(0x1p-149f), 0);
  EXPECT_EQ(format.encode(-0x1p-149f), 0x8000);
  // NaN whose payload lies in the bits that are cut off.
  EXPECT_EQ(format.encode(f32(0x7F800001u)), format.infinity() | (1 << (format.fraction_bits - 1)));
  EXPECT_EQ(format.encode(f32(0xFFFFFFFFu)), 0xFFFF);
}

TEST(Pack, BitsAreWhereTheLayoutSays) {
  for (int n = 1; n <= 8; ++n)
    for (const size_t count : {0u, 1u, 3u, 4u, 5u, 31u, 32u, 33u, 64u, 101u, 256u}) {
      SCOPED_TRACE(testing::Message() << n << " bits, " << count << " codes");
      std::vector<uint8_t> codes(count);
      for (size_t i = 0; i < count; ++i)
        codes[i] = static_cast<uint8_t>(gen::Source{1, static_cast<uint32_t>(n)}.words(i)[0] &
                                        ((1u << n) - 1u));
      const size_t words = static_cast<size_t>(packed_words(static_cast<int64_t>(count), n));
      ASSERT_EQ(words, (count * static_cast<size_t>(n) + 31) / 32);
      std::vector<uint32_t> packed(words + 1, 0xDEADBEEFu);
      pack_codes(codes, n, std::span(packed).first(words));
      EXPECT_EQ(packed.back(), 0xDEADBEEFu);
      for (size_t b = 0; b < 32 * words; ++b) {
        const size_t i = b / static_cast<size_t>(n);
        const uint32_t expected = i < count ? (codes[i] >> (b % static_cast<size_t>(n))) & 1u : 0u;
        ASSERT_EQ((packed[b / 32] >> (b % 32)) & 1u, expected) << "bit " << b;
      }
      std::vector<uint8_t> back(count, 0xFF);
      unpack_codes(std::span<const uint32_t>(packed).first(words), n, back);
      EXPECT_EQ(back, codes);
    }
}

TEST(Pack, Golden) {
  const std::vector<uint8_t> codes = {1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3};
  std::vector<uint32_t> words(2);
  pack_codes(codes, 3, words);
  EXPECT_EQ(words, (std::vector<uint32_t>{0xD11F58D1u, 0x00000000u}));
}

}  // namespace
}  // namespace kvx::num
