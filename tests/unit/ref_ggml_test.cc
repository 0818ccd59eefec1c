// The worked examples of ref/ggml.md: the bytes of whole blocks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;
using Bytes = std::vector<uint8_t>;

const std::vector<float> kRow = {-3.875f, -3.75f,  -3.5f, -3.125f, -3.f,   -2.75f, -2.375f, -2.25f,
                                 -2.f,    -1.625f, -1.5f, -1.25f,  -.875f, -.75f,  -.5f,    -.125f,
                                 0.f,     .25f,    .625f, .75f,    1.f,    1.375f, 1.5f,    1.75f,
                                 2.125f,  2.25f,   2.5f,  2.875f,  3.f,    3.25f,  3.625f,  3.75f};

// `start`, filled up to `size`.
Bytes filled_up(const Bytes& start, size_t size, uint8_t fill = 0) {
  Bytes all(size, fill);
  std::copy(start.begin(), start.end(), all.begin());
  return all;
}

struct Coded {
  std::map<std::string, test::Exported> tensors;
  Bytes bytes;  // of K
  uint16_t d() const { return tensors.at("k.scale").as<uint16_t>()[0]; }
  uint16_t m() const { return tensors.at("k.zero").as<uint16_t>()[0]; }
  Bytes codes() const { return tensors.at("k.codes").as<uint8_t>(); }
  std::vector<float> decoded() const { return tensors.at("k.decoded").as<float>(); }
};

Coded coded(const std::string& type, std::vector<float> x,
            NonFinite nonfinite = NonFinite::kRefuse) {
  x.resize(32);
  const auto cache = test::make("ggml:" + type, 1, 32, Windows::kKept, nonfinite);
  Tensor rows(1, 1, 32);
  rows.values = x;
  const SeqId seq = cache->open();
  test::append(*cache, seq, rows, rows, 0, 1);
  const auto image = cache->image(seq);
  Coded result{test::exported(*cache, seq), {}};
  for (size_t i = 0; i < image.size() / 2; ++i) {
    result.bytes.push_back(std::to_integer<uint8_t>(image[i]));
  }
  EXPECT_EQ(result.tensors.at("k.packed").dtype, "U8");
  EXPECT_EQ(result.tensors.at("k.packed").as<uint8_t>(), result.bytes);
  return result;
}

TEST(Ggml, Q8_0) {
  const Coded block = coded("q8_0", kRow);
  Bytes expected = {0xD0, 0x27};
  for (const int q :
       {-127, -123, -115, -102, -98, -90, -78, -74, -66, -53, -49, -41, -29, -25, -16, -4,
        0,    8,    20,   25,   33,  45,  49,  57,  70,  74,  82,  94,  98,  107, 119, 123}) {
    expected.push_back(static_cast<uint8_t>(q));
  }
  EXPECT_EQ(block.bytes, expected);
  EXPECT_EQ(block.d(), 0x27D0);
  EXPECT_EQ(block.codes(), Bytes(expected.begin() + 2, expected.end()));
  EXPECT_EQ(block.decoded()[0], num::f16_round(-127.0f * num::f16_decode(0x27D0)));
  // Halves go away from zero.
  EXPECT_EQ(coded("q8_0", {127.f, .5f, 1.5f, 2.5f, -.5f, -2.5f}).bytes,
            filled_up({0x00, 0x3C, 127, 1, 2, 3, 0xFF, 0xFD}, 34));
}

TEST(Ggml, Q4_0) {
  EXPECT_EQ(coded("q4_0", kRow).bytes,
            (Bytes{0xC0, 0x37, 0x80, 0x90, 0x91, 0xA2, 0xA2, 0xB2, 0xB3, 0xC3, 0xC4, 0xD5, 0xD5,
                   0xE5, 0xE6, 0xF6, 0xF7, 0xF8}));
  // x id + 8.5 has two roundings; fused it gives 80 80 81 82.
  EXPECT_EQ(coded("q4_0", {-3.f, -2.8125f, -2.4375f, -2.0625f}).bytes,
            filled_up({0x00, 0x36, 0x80, 0x81, 0x82, 0x83}, 18, 0x88));
}

TEST(Ggml, Q4_1) {
  const Coded block = coded("q4_1", kRow);
  EXPECT_EQ(block.bytes, (Bytes{0x11, 0x38, 0xC0, 0xC3, 0x80, 0x80, 0x91, 0x91, 0xA2, 0xA2,
                                0xB3, 0xB3, 0xC4, 0xC4, 0xD5, 0xD5, 0xE6, 0xE6, 0xF7, 0xF7}));
  EXPECT_EQ(block.d(), 0x3811);
  EXPECT_EQ(block.m(), 0xC3C0);
}

TEST(Ggml, Q5_0) {
  EXPECT_EQ(coded("q5_0", kRow).bytes,
            (Bytes{0xC0, 0x33, 0x00, 0x00, 0xFF, 0xFF, 0x00, 0x11, 0x32, 0x33, 0x44,
                   0x65, 0x66, 0x77, 0x98, 0x99, 0xAA, 0xCB, 0xCC, 0xDD, 0xFE, 0xFF}));
}

TEST(Ggml, Q5_1) {
  Bytes expected = {0xDF, 0x33, 0xC0, 0xC3, 0x00, 0x00, 0xFF, 0xFF};
  for (int j = 0; j < 16; ++j) expected.push_back(static_cast<uint8_t>(0x11 * j));
  const Coded block = coded("q5_1", kRow);
  EXPECT_EQ(block.bytes, expected);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(block.codes()[static_cast<size_t>(j)], j);
}

TEST(Ggml, ZeroBlocks) {
  for (const float first : {0.0f, -0.0f}) {
    std::vector<float> x(32, 0.0f);
    x[0] = first;
    x[7] = -0.0f;
    const uint8_t sign = std::signbit(first) ? 0x80 : 0x00;
    EXPECT_EQ(coded("q4_0", x).bytes, filled_up({0x00, 0x80}, 18, 0x88));
    EXPECT_EQ(coded("q5_0", x).bytes, filled_up({0x00, 0x80, 0xFF, 0xFF, 0xFF, 0xFF}, 22));
    EXPECT_EQ(coded("q8_0", x).bytes, Bytes(34));
    EXPECT_EQ(coded("q4_1", x).bytes, filled_up({0x00, 0x00, 0x00, sign}, 20));
    EXPECT_EQ(coded("q5_1", x).bytes, filled_up({0x00, 0x00, 0x00, sign}, 24));
    // (8 - 8) times -0.
    EXPECT_EQ(test::patterns(coded("q4_0", x).decoded()), std::vector<uint32_t>(32, 0x80000000u));
  }
}

TEST(Ggml, LargestMagnitudeTakesCodeZero) {
  // The first of 3 and -3 counts: d = 3 / -8, so 3 is code 0 and -3 is cut to code 15.
  const Coded block = coded("q4_0", {3.f, -3.f, 1.5f});
  EXPECT_EQ(num::f16_decode(block.d()), -.375f);
  EXPECT_EQ(block.codes()[0], 0);
  EXPECT_EQ(block.codes()[1], 15);
  EXPECT_EQ(block.codes()[2], 4);
  EXPECT_EQ(block.decoded()[0], 3.0f);
  EXPECT_EQ(block.decoded()[1], -2.625f);
}

TEST(Ggml, NonFiniteInputWhereLetThrough) {
  for (const char* type : {"q8_0", "q5_1", "q5_0", "q4_1", "q4_0"}) {
    std::vector<float> x = kRow;
    x[3] = INFINITY;
    const Coded block = coded(type, x, NonFinite::kPropagate);
    EXPECT_EQ(block.d(), 0x7E00);
    EXPECT_EQ(block.codes(), Bytes(32, 0));
    for (const float value : block.decoded()) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Ggml, TwoBlocksOfARow) {
  const auto cache = test::make("ggml:q5_1", 2, 64);
  std::vector<std::string> names;
  for (const LayoutEntry& entry : cache->layout(1)) {
    names.push_back(entry.name + " " + std::to_string(entry.offset));
  }
  names.resize(9);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "k.head0.block0.d0 0", "k.head0.block0.m0 2", "k.head0.block0.qh0 4",
                       "k.head0.block0.qs0 8", "k.head0.block0.d1 24", "k.head0.block0.m1 26",
                       "k.head0.block0.qh1 28", "k.head0.block0.qs1 32", "k.head1.block0.d0 48"}));
  EXPECT_FALSE(claims(cache->traits().laws, Law::kMetadata));
}

TEST(Ggml, BitsPerValue) {
  const std::pair<const char*, double> cases[] = {
      {"q8_0", 8.5}, {"q5_1", 6.0}, {"q5_0", 5.5}, {"q4_1", 5.0}, {"q4_0", 4.5}};
  for (const auto& [type, bits] : cases) {
    const auto cache = test::make(std::string("ggml:") + type, 2, 128);
    const Tensor x = test::filled(gen::Fill::kNormal, 3, 0, 5, 2, 128);
    const SeqId seq = cache->open();
    test::append(*cache, seq, x, x, 0, 5);
    EXPECT_EQ(8.0 * static_cast<double>(cache->image(seq).size()) / (2 * 5 * 2 * 128), bits);
  }
}

TEST(Ggml, RefusesRowsThatAreNotWholeBlocks) {
  try {
    test::make("ggml:q4_0", 1, 80);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kUsage);
    EXPECT_STREQ(error.what(), "ggml: the head dim 80 is not a multiple of 32, the block of q4_0");
  }
}

}  // namespace
}  // namespace kvx
