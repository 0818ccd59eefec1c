#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/gen/fill.h"
#include "sim/gen/random.h"
#include "sim/num/formats.h"

namespace kvx::gen {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

std::vector<float> make(Fill kind, FillShape shape, int64_t first, int64_t tokens,
                        uint64_t seed = 7, uint32_t tensor = 3) {
  std::vector<float> x(static_cast<size_t>(tokens * shape.heads * shape.dim));
  fill(kind, seed, tensor, shape, first, x);
  return x;
}

TEST(Philox, KnownAnswers) {
  // The vectors published with the generator (Random123, kat_vectors, philox4x32 10).
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Source, EveryPartOfTheKeyMatters) {
  std::set<Words> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32})
    for (const uint32_t tensor : {0u, 1u})
      for (const uint32_t purpose : {0u, 1u})
        for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32})
          seen.insert(Source{seed, tensor, purpose}.words(index));
  EXPECT_EQ(seen.size(), 36u);
}

TEST(Source, UniformAndNormalHaveTheirMoments) {
  constexpr int kCount = 200000;
  const Source source{11, 0};
  double mean = 0, normal_mean = 0, square = 0, fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = source.uniform(static_cast<uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    mean += u;
    const double z = static_cast<double>(source.normal(static_cast<uint64_t>(i)));
    normal_mean += z;
    square += z * z;
    fourth += z * z * z * z;
  }
  EXPECT_NEAR(mean / kCount, 0.5, 0.003);
  EXPECT_NEAR(normal_mean / kCount, 0.0, 0.01);
  EXPECT_NEAR(square / kCount, 1.0, 0.015);
  EXPECT_NEAR(fourth / kCount, 3.0, 0.15);
}

TEST(Source, Goldens) {
  const Source source{42, 5};
  EXPECT_EQ(source.words(0), (Words{0x7b835adf, 0x68b79cb4, 0x7b2228a5, 0xdf5aef1c}));
  EXPECT_EQ(std::bit_cast<uint64_t>(source.uniform(0)), 0x3fda2de72d1ee0d6u);
  const uint32_t expected[] = {0xbf825a8f, 0xbf786255, 0x401e7dbc, 0xbe609b85};
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(bits(source.normal(i)), expected[i]);
}

class EveryFill : public testing::TestWithParam<int> {
 protected:
  Fill kind() const { return static_cast<Fill>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(, EveryFill, testing::Range(0, kFills),
                         [](const testing::TestParamInfo<int>& param) {
                           std::string name = fill_name(static_cast<Fill>(param.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(EveryFill, NameIsParsedBack) { EXPECT_EQ(parse_fill(fill_name(kind())), kind()); }

TEST_P(EveryFill, DoesNotDependOnTheSplit) {
  constexpr FillShape kShape{2, 48};
  constexpr int64_t kTokens = 70;
  const std::vector<float> whole = make(kind(), kShape, 0, kTokens);
  for (const int64_t chunk : {1, 7, 32, 64}) {
    std::vector<float> parts;
    for (int64_t first = 0; first < kTokens; first += chunk) {
      const std::vector<float> part = make(kind(), kShape, first, std::min(chunk, kTokens - first));
      parts.insert(parts.end(), part.begin(), part.end());
    }
    ASSERT_EQ(parts.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) ASSERT_EQ(bits(parts[i]), bits(whole[i])) << i;
  }
}

TEST_P(EveryFill, DependsOnSeedAndTensor) {
  const auto pattern = [](const std::vector<float>& x) {
    std::vector<uint32_t> b;
    for (const float v : x) b.push_back(bits(v));
    return b;
  };
  const FillShape shape{2, 64};
  const auto base = pattern(make(kind(), shape, 0, 64));
  EXPECT_NE(base, pattern(make(kind(), shape, 0, 64, 8)));
  EXPECT_NE(base, pattern(make(kind(), shape, 0, 64, 7, 4)));
}

TEST_P(EveryFill, Golden) {
  // FNV-1a over the little-endian bytes of [5, 75) x 3 heads x 40 channels.
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const float x : make(kind(), {3, 40}, 5, 70, 2026, 9))
    for (int byte = 0; byte < 4; ++byte) {
      hash ^= (bits(x) >> (8 * byte)) & 0xFFu;
      hash *= 0x100000001b3ull;
    }
  constexpr uint64_t kGoldens[kFills] = {
      0xb0ce49e4e0295f77,  // normal
      0x785ab8ea4d876d66,  // heavy
      0xc38fa0898fb82e66,  // rope-keys
      0xed7c8389fb5fd255,  // constant
      0xd95ea433a143a654,  // ties
      0x78d15a26e472a4a4,  // f16-ties
      0x49bacf818ca44540,  // bf16-ties
      0xac6282ce3a0dc04b,  // zeros
      0x11a70fbe9c726efe,  // f16-subnormal
      0xfae2d1403271b2af,  // f32-subnormal
      0xa0ca7846fc5dd201,  // f16-extreme
      0xb0a7bcd29a86f3d9,  // f32-extreme
      0x0e1bc845738c34e2,  // non-finite
  };
  EXPECT_EQ(hash, kGoldens[GetParam()]) << std::hex << hash;
}

TEST(Fill, UnknownNameIsAUsageErrorThatListsTheNames) {
  try {
    parse_fill("norml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kUsage);
    EXPECT_NE(std::string(error.what()).find("norml"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("rope-keys"), std::string::npos);
  }
}

double rms(const std::vector<float>& x, size_t first, size_t stride) {
  double sum = 0;
  int count = 0;
  for (size_t i = first; i < x.size(); i += stride, ++count)
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(sum / count);
}

TEST(Fill, HeavyHasFewLargeChannelsInEveryHead) {
  const FillShape shape{4, 128};
  const std::vector<float> x = make(Fill::kHeavy, shape, 0, 500);
  for (int head = 0; head < shape.heads; ++head) {
    int large = 0;
    for (int c = 0; c < shape.dim; ++c) {
      const double channel = rms(
          x, static_cast<size_t>(head) * static_cast<size_t>(shape.dim) + static_cast<size_t>(c),
          512);
      EXPECT_LT(channel, 60);
      if (channel > 8) ++large;
    }
    EXPECT_EQ(large, 4);
  }
}

TEST(Fill, RopeKeysKeepTheNormOfTheirPairs) {
  // The bias gives a pair nearly the same radius at every position: far less spread than a normal
  // pair's.
  const std::vector<float> x = make(Fill::kRopeKeys, {1, 64}, 0, 400);
  int channel_with_steady_radius = 0;
  for (size_t i = 0; i < 32; ++i) {
    double mean = 0, square = 0;
    for (size_t t = 0; t < 400; ++t) {
      const double a = static_cast<double>(x[t * 64 + i]);
      const double b = static_cast<double>(x[t * 64 + i + 32]);
      const double r = std::sqrt(a * a + b * b);
      mean += r / 400;
      square += r * r / 400;
    }
    if (std::sqrt(square - mean * mean) / mean < 0.45) ++channel_with_steady_radius;
  }
  EXPECT_GT(channel_with_steady_radius, 16);
}

TEST(Fill, ConstantTiles) {
  const std::vector<float> x = make(Fill::kConstant, {1, 64}, 0, 1280);
  std::set<uint32_t> values;
  int zeros = 0;
  for (size_t t = 0; t < 1280; t += 32)
    for (size_t c = 0; c < 64; c += 32) {
      const float tile = x[t * 64 + c];
      for (size_t i = 0; i < 32; ++i)
        for (size_t j = 0; j < 32; ++j) ASSERT_EQ(bits(x[(t + i) * 64 + c + j]), bits(tile));
      values.insert(bits(tile));
      zeros += tile == 0 ? 1 : 0;
    }
  EXPECT_GT(values.size(), 10u);
  EXPECT_GT(zeros, 0);
}

// In every group: the step of an asymmetric or of a symmetric quantizer of 2, 3,
// 4 or 8 bits is a power of two, binary16 holds every value, and some values lie exactly halfway
// between two codes.
TEST(Fill, TiesAreHalfwayInEveryGroup) {
  const std::vector<float> x = make(Fill::kTies, {1, 64}, 0, 640);
  std::map<int, int> ties_by_levels;
  for (size_t t = 0; t < 640; ++t)
    for (size_t c = 0; c < 64; c += 32) {
      float low = x[t * 64 + c], high = low;
      for (size_t j = 0; j < 32; ++j) {
        const float v = x[t * 64 + c + j];
        ASSERT_EQ(num::f16_round(v), v);
        low = std::min(low, v);
        high = std::max(high, v);
      }
      bool tied = false;
      for (const int levels : {3, 7, 15, 255, 2, 6, 14, 254}) {
        const float step = (high - low) / static_cast<float>(levels);
        int exponent;
        if (std::frexp(step, &exponent) != 0.5f) continue;
        bool halves = true;
        int ties = 0;
        for (size_t j = 0; j < 32; ++j) {
          const float code = (x[t * 64 + c + j] - low) / step;
          halves = halves && 2 * code == std::floor(2 * code);
          if (code != std::floor(code)) ++ties;
        }
        if (halves && ties > 0) {
          ties_by_levels[levels] += ties;
          tied = true;
        }
      }
      ASSERT_TRUE(tied) << t << ' ' << c;
    }
  EXPECT_EQ(ties_by_levels.size(), 8u);
}

TEST(Fill, FormatTiesLieBetweenNeighbours) {
  for (const float x : make(Fill::kF16Ties, {1, 32}, 0, 100)) {
    const uint16_t code = num::f16_encode(x);
    EXPECT_EQ(code & 1, 0);
    const float rounded = num::f16_decode(code);
    EXPECT_NE(rounded, x);
    const bool up = std::abs(rounded) > std::abs(x);
    EXPECT_EQ((rounded + num::f16_decode(static_cast<uint16_t>(up ? code - 1 : code + 1))) / 2, x);
  }
  for (const float x : make(Fill::kBf16Ties, {1, 32}, 0, 100)) {
    EXPECT_EQ(bits(x) & 0xFFFFu, 0x8000u);
    EXPECT_EQ(num::bf16_encode(x) & 1, 0);
  }
}

TEST(Fill, EdgesAreWhatTheyAreCalled) {
  bool plus = false, minus = false, half_step = false;
  for (const float x : make(Fill::kZeros, {1, 64}, 0, 64)) {
    plus |= bits(x) == 0;
    minus |= bits(x) == 0x80000000u;
  }
  EXPECT_TRUE(plus && minus);
  for (const float x : make(Fill::kF16Subnormal, {1, 32}, 0, 64)) {
    EXPECT_LT(std::abs(x), 0x1p-14f);
    half_step |= num::f16_round(x) != x;
  }
  EXPECT_TRUE(half_step);
  for (const float x : make(Fill::kF32Subnormal, {1, 32}, 0, 64)) EXPECT_LT(std::abs(x), 0x1p-126f);
  int greatest = 0, beyond = 0, infinite = 0, nan = 0;
  for (const float x : make(Fill::kF16Extreme, {1, 32}, 0, 64)) {
    EXPECT_LE(std::abs(num::f16_round(x)), 65504.0f);
    greatest += std::abs(num::f16_round(x)) == 65504.0f ? 1 : 0;
    beyond += std::abs(x) > 65504.0f ? 1 : 0;
  }
  EXPECT_GT(greatest, 0);
  EXPECT_GT(beyond, 0);
  for (const float x : make(Fill::kF32Extreme, {1, 32}, 0, 64)) {
    EXPECT_TRUE(std::isnormal(x));
    EXPECT_TRUE(std::abs(x) > 3.4e38f || std::abs(x) < 1.2e-38f);
  }
  for (const float x : make(Fill::kNonFinite, {1, 64}, 0, 64)) {
    infinite += std::isinf(x) ? 1 : 0;
    nan += std::isnan(x) ? 1 : 0;
  }
  EXPECT_GT(infinite, 0);
  EXPECT_GT(nan, 0);
}

}  // namespace
}  // namespace kvx::gen
