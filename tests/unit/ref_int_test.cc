// The worked examples of ref/int.md.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;
using Codes = std::vector<int>;

const std::vector<float> kRow = {.7001953125f,   -1.2998046875f, 2.099609375f, .04998779296875f,
                                 -.39990234375f, 1.900390625f,   -2.19921875f, .330078125f};

struct Coded {
  uint16_t scale = 0;
  uint16_t zero = 0;
  bool has_zero = false;
  Codes codes;
  std::vector<float> decoded;
  std::vector<std::byte> image;
};

// One group: a row of one token along channels, or the tokens of one channel (head dim 1).
Coded coded(const std::string& bits, const std::vector<float>& x, bool symmetric, bool along_tokens,
            NonFinite nonfinite = NonFinite::kRefuse) {
  const auto size = static_cast<int>(x.size());
  std::string descriptor = "int:k" + bits + "v" + bits + ",g" + std::to_string(size);
  if (symmetric) descriptor += ",sym";
  if (along_tokens) descriptor += ",kaxis=channel,vaxis=channel";
  const auto cache = test::make(descriptor, 1, along_tokens ? 1 : size, Windows::kKept, nonfinite);
  Tensor rows(along_tokens ? size : 1, 1, along_tokens ? 1 : size);
  rows.values = x;
  const SeqId seq = cache->open();
  test::append(*cache, seq, rows, rows, 0, rows.tokens);
  const auto tensors = test::exported(*cache, seq);
  Coded result;
  result.image = cache->image(seq);
  result.scale = tensors.at("k.scale").as<uint16_t>()[0];
  result.has_zero = tensors.count("k.zero") != 0;
  if (result.has_zero) result.zero = tensors.at("k.zero").as<uint16_t>()[0];
  result.decoded = tensors.at("k.decoded").as<float>();
  const int n = std::stoi(bits);
  for (const uint8_t code : tensors.at("k.codes").as<uint8_t>()) {
    EXPECT_LT(code, 1 << n);
    result.codes.push_back(symmetric && code >= 1 << (n - 1) ? code - (1 << n) : code);
  }
  EXPECT_EQ(tensors.count("k.packed"), 0u);
  EXPECT_EQ(tensors.at("v.codes").bytes, tensors.at("k.codes").bytes);
  return result;
}

TEST(IntAsymmetric, WorkedExamples) {
  for (const bool along_tokens : {false, true}) {
    const Coded four = coded("4", kRow, false, along_tokens);
    EXPECT_EQ(four.scale, 0x3496);
    EXPECT_EQ(four.zero, 0x4066);
    EXPECT_EQ(four.codes, (Codes{10, 3, 15, 8, 6, 14, 0, 9}));
    EXPECT_EQ(four.decoded,
              test::from_f16({0x3956, 0xBD5C, 0x4033, 0x2E00, 0xB7AC, 0x3F41, 0xC066, 0x3616}));
    const Coded eight = coded("8", kRow, false, along_tokens);
    EXPECT_EQ(eight.scale, 0x2451);
    EXPECT_EQ(eight.codes, (Codes{172, 53, 255, 133, 107, 243, 0, 150}));
    const Coded three = coded("3", kRow, false, along_tokens);
    EXPECT_EQ(three.scale, 0x38EA);
    EXPECT_EQ(three.codes, (Codes{5, 1, 7, 4, 3, 7, 0, 4}));
    const Coded two = coded("2", kRow, false, along_tokens);
    EXPECT_EQ(two.scale, 0x3DBB);
    EXPECT_EQ(two.codes, (Codes{2, 1, 3, 2, 1, 3, 0, 2}));
  }
}

TEST(IntAsymmetric, ConstantRows) {
  const std::pair<float, uint16_t> cases[] = {
      {3.0f, 0xC200}, {0.0f, 0x0000}, {-0.0f, 0x0000}, {-5.0f, 0x4500}};
  for (const auto& [value, zero] : cases) {
    const Coded four = coded("4", std::vector<float>(8, value), false, false);
    EXPECT_EQ(four.scale, 0x000B);
    EXPECT_EQ(four.zero, zero);
    EXPECT_EQ(four.codes, Codes(8, 0));
    EXPECT_EQ(test::patterns(four.decoded), test::patterns(std::vector<float>(8, value + 0.0f)));
    EXPECT_EQ(coded("8", std::vector<float>(8, value), false, false).scale, 0x0001);
  }
}

TEST(IntSymmetric, WorkedExamples) {
  for (const bool along_tokens : {false, true}) {
    const Coded four = coded("4", kRow, true, along_tokens);
    EXPECT_FALSE(four.has_zero);
    EXPECT_EQ(four.scale, 0x3507);
    EXPECT_EQ(four.codes, (Codes{2, -4, 7, 0, -1, 6, -7, 1}));
    const Coded eight = coded("8", kRow, true, along_tokens);
    EXPECT_EQ(eight.scale, 0x246F);
    EXPECT_EQ(eight.codes, (Codes{40, -75, 121, 3, -23, 110, -127, 19}));
    const Coded two = coded("2", kRow, true, along_tokens);
    EXPECT_EQ(two.scale, 0x4066);
    EXPECT_EQ(two.codes, (Codes{0, -1, 1, 0, 0, 1, -1, 0}));
  }
}

TEST(IntSymmetric, ZeroCodesDecodeToPlusZero) {
  const Coded zeros = coded("4", std::vector<float>(8, -0.0f), true, false);
  EXPECT_EQ(zeros.codes, Codes(8, 0));
  EXPECT_EQ(test::patterns(zeros.decoded), std::vector<uint32_t>(8, 0u));
}

TEST(IntLayout, PaddedGroup) {
  // 3 bits x 8 codes = 24 bits: three bytes of codes and one of padding, then scale and zero.
  const Coded three = coded("3", kRow, false, false);
  ASSERT_EQ(three.image.size(), 16u);
  uint32_t word = 0;
  std::memcpy(&word, three.image.data(), 4);
  EXPECT_EQ(word, 0x0083B9CDu);

  const auto cache = test::make("int:k3v4,g8", 1, 16);
  const auto entries = cache->layout(1);
  const std::pair<const char*, int64_t> expected[] = {
      {"k.head0.block0.codes0", 3},   {"k.head0.block0.padding0", 1}, {"k.head0.block0.codes1", 3},
      {"k.head0.block0.padding1", 1}, {"k.head0.block0.scale", 4},    {"k.head0.block0.zero", 4},
      {"v.head0.block0.codes", 8},    {"v.head0.block0.scale", 4},    {"v.head0.block0.zero", 4}};
  ASSERT_EQ(entries.size(), std::size(expected));
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].name, expected[i].first);
    EXPECT_EQ(entries[i].bytes, expected[i].second);
  }
}

TEST(IntLayout, BitsPerValue) {
  struct Case {
    const char* descriptor;
    double bits;
  };
  for (const Case& c : {Case{"int:k4v4", 4 + 32.0 / 128}, Case{"int:k4v4,sym", 4 + 16.0 / 128},
                        Case{"int:k8v8,g32", 9.0}, Case{"int:k2v4,g64", (2 + 4 + 1) / 2.0},
                        Case{"int:k3v3,kaxis=channel,vaxis=channel", 4.0},
                        Case{"int:k4v2,kaxis=channel", (4 + 1 + 2 + 0.25) / 2}}) {
    const auto cache = test::make(c.descriptor, 2, 128);
    const SeqId seq = cache->open();
    const Tensor x = test::filled(gen::Fill::kNormal, 3, 0, 64, 2, 128);
    test::append(*cache, seq, x, x, 0, 64);
    EXPECT_EQ(8.0 * static_cast<double>(cache->image(seq).size()) / (2 * 64 * 2 * 128), c.bits)
        << c.descriptor;
  }
}

TEST(Int, AQueryReadsItsOwnRowDecoded) {
  const auto cache = test::make("int:k4v4,kaxis=channel,g16", 1, 32);
  const SeqId seq = cache->open();
  const Tensor x = test::filled(gen::Fill::kNormal, 3, 0, 40, 1, 32);
  test::append(*cache, seq, x, x, 0, 40);
  EXPECT_EQ(cache->reads(seq, Side::kV, 20), (ReadMap{{0, 21, Held::kSealed}}));
  EXPECT_EQ(cache->reads(seq, Side::kK, 14), (ReadMap{{0, 15, Held::kExact}}));
  EXPECT_EQ(cache->reads(seq, Side::kK, 15), (ReadMap{{0, 16, Held::kSealed}}));
  EXPECT_EQ(cache->reads(seq, Side::kK, 20),
            (ReadMap{{0, 16, Held::kSealed}, {16, 5, Held::kExact}}));
  EXPECT_EQ(cache->held(seq, Side::kK), (ReadMap{{0, 32, Held::kSealed}, {32, 8, Held::kExact}}));
}

TEST(Int, NonFiniteInputWhereLetThrough) {
  std::vector<float> x = kRow;
  x[2] = INFINITY;
  for (const bool symmetric : {false, true}) {
    const Coded group = coded("4", x, symmetric, false, NonFinite::kPropagate);
    EXPECT_EQ(group.scale, 0x7E00);
    EXPECT_EQ(group.codes, Codes(8, 0));
    for (const float value : group.decoded) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Int, RefusesGroupsThatDoNotFit) {
  for (const char* descriptor : {"int:k4v4,g128", "int:k4v4,g48", "int:k4v4,g128,kaxis=channel"}) {
    try {
      test::make(descriptor, 1, 64);
      ADD_FAILURE() << descriptor;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kUsage);
      EXPECT_NE(std::string(error.what()).find("does not divide the head dim 64"),
                std::string::npos);
    }
  }
  EXPECT_NO_THROW(test::make("int:k4v4,g128,kaxis=channel,vaxis=channel", 1, 80));
}

}  // namespace
}  // namespace kvx
