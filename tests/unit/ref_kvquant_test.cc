// The worked examples of the specification's page (ref/kvquant.md, "Examples"): keys, values,
// rounding, integers, packing.
#include <gtest/gtest.h>

#include <bit>
#include <set>

#include "sim/num/pack.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;
using Codes = std::vector<uint8_t>;
using Floats = std::vector<float>;
using Words = std::vector<uint32_t>;

std::vector<uint16_t> halves(const Floats& values) {
  std::vector<uint16_t> bits(values.size());
  num::f16_encode(values, bits);
  return bits;
}

Floats floats(const Words& bits) {
  Floats values;
  for (const uint32_t b : bits) values.push_back(std::bit_cast<float>(b));
  return values;
}

// Codebooks and ranges of layer 0; the same codebook on both sides.
std::shared_ptr<test::MemoryArtifact> artifact(const Floats& codebook,
                                               const std::vector<uint16_t>& lo,
                                               const std::vector<uint16_t>& hi,
                                               const Floats& qnorm = {}) {
  auto made = std::make_shared<test::MemoryArtifact>();
  const auto d = static_cast<int64_t>(lo.size());
  for (const std::string side : {"k", "v"}) {
    const std::string prefix = "layers.0." + side + ".";
    made->set(prefix + "codebook", "F32", {static_cast<int64_t>(codebook.size())}, codebook);
    made->set(prefix + "qnorm", "F32", {static_cast<int64_t>(qnorm.size())}, qnorm);
    made->set(prefix + "lo", "F16", {d}, lo);
    made->set(prefix + "hi", "F16", {d}, hi);
  }
  return made;
}

// Rows of one KV head as the scheme stores them, K and V the same.
struct Coded {
  std::map<std::string, test::Exported> tensors;
  std::vector<std::byte> image;

  template <class T>
  std::vector<T> of(const std::string& name) const {
    return tensors.at(name).as<T>();
  }
  // Packed codes of a token of `dim` channels, one word at most.
  uint32_t word(const std::string& side, size_t token, size_t dim, int bits) const {
    const Codes codes = of<uint8_t>(side + ".codes");
    uint32_t word = 0;
    num::pack_codes(std::span(codes).subspan(token * dim, dim), bits, {&word, 1});
    return word;
  }
  std::set<int> outliers(const std::string& side, size_t token) const {
    const auto starts = of<uint32_t>(side + ".outlier.start");
    const auto index = of<uint32_t>(side + ".outlier.index");
    return {index.begin() + starts[token], index.begin() + starts[token + 1]};
  }
};

Coded coded(const std::string& descriptor, std::shared_ptr<const Artifact> artifact, int dim,
            const Floats& rows) {
  CacheConfig config;
  config.shape = {.layer = 0, .kv_heads = 1, .head_dim = dim};
  config.artifacts = [artifact](std::string_view) { return artifact; };
  const auto cache = ref::make_cache(Descriptor::parse(descriptor), config);
  Tensor x(static_cast<int64_t>(rows.size()) / dim, 1, dim);
  x.values = rows;
  const SeqId seq = cache->open();
  test::append(*cache, seq, x, x, 0, x.tokens);
  return {test::exported(*cache, seq), cache->image(seq)};
}

// Example 1.

const Floats kBook = {-.875f, -.25f, .25f, .75f};
const Floats kHi = {1, 2, .5f, 4, 3, 1.5f, .25f, 8};
const Floats kLo = {-1, 0, -.5f, -4, 1, -.5f, -.25f, -8};
const Floats kKeys = {.5f,      1.25f, -.5f,   6,   1.5f, 0,        .125f, -3,  //
                      -.75f,    2.5f,  .25f,   -4,  2,    1.75f,    -.5f,  8,   //
                      .015625f, 0,     0,      1,   3,    -.5f,     .25f,  -9,  //
                      1.5f,     1,     -.125f, .5f, .75f, .515625f, 0,     2};
const Floats kKeysDecoded = {.25f,   1.25f, -.4375f, 6,     1.75f, .25f,   .0625f,  -2,  //
                             -.875f, 2.5f,  .125f,   -3.5f, 1.75f, 1.75f,  -.5f,    6,   //
                             .25f,   .125f, -.125f,  1,     2.75f, -.375f, .1875f,  -9,  //
                             1.5f,   .75f,  -.125f,  1,     .75f,  .75f,   -.0625f, 2};

TEST(Kvquant, KeysOfBothProfiles) {
  const auto tables = artifact(kBook, halves(kLo), halves(kHi));
  for (const auto& [profile, words] : {std::pair("repo", Words{0x654A, 0xD524, 0x7392, 0x9995}),
                                       {"paper", Words{0x65CA, 0xCD2C, 0x3392, 0x9897}}}) {
    const Coded rows = coded(std::string("kvquant:nuq2,o0.25,s0,cb=#00000000,profile=") + profile,
                             tables, 8, kKeys);
    for (size_t t = 0; t < 4; ++t) EXPECT_EQ(rows.word("k", t, 8, 2), words[t]) << profile << t;
    EXPECT_EQ(rows.outliers("k", 0), (std::set<int>{3}));
    EXPECT_EQ(rows.outliers("k", 1), (std::set<int>{1, 5, 6}));
    EXPECT_EQ(rows.outliers("k", 2), (std::set<int>{7}));
    EXPECT_EQ(rows.outliers("k", 3), (std::set<int>{0, 4}));
    EXPECT_EQ(rows.of<float>("k.decoded"), kKeysDecoded) << profile;
  }
}

TEST(Kvquant, TheOutliersThatAreStored) {
  const auto tables = artifact(kBook, halves(kLo), halves(kHi));
  // repo: fl(x - z), z = 0 1 0 0 2 .5 0 0.
  EXPECT_EQ(coded("kvquant:nuq2,o0.25,cb=#00000000", tables, 8, kKeys).of<float>("k.outlier.value"),
            (Floats{6, 1.5f, 1.25f, -.5f, -9, 1.5f, -1.25f}));
  EXPECT_EQ(
      test::from_f16(coded("kvquant:nuq2,o0.25,s0,profile=paper,cb=#00000000", tables, 8, kKeys)
                         .of<uint16_t>("k.outlier.value")),
      (Floats{6, 2.5f, 1.75f, -.5f, -9, 1.5f, .75f}));
}

TEST(Kvquant, AnUnsortedCodebookKeepsItsOrder) {
  const auto tables = artifact({.25f, -.875f, .75f, -.25f}, halves(kLo), halves(kHi));
  const Coded rows = coded("kvquant:nuq2,o0.25,cb=#00000000", tables, 8, kKeys);
  Floats expected = kKeysDecoded;  // ties at u = 0 go to .25, which is first
  expected[8 + 4] = 2.25f;
  expected[16 + 2] = .125f;
  expected[24 + 1] = 1.25f;
  expected[24 + 6] = .0625f;
  EXPECT_EQ(rows.of<float>("k.decoded"), expected);
}

// Example 2.

TEST(Kvquant, ValuesOfBothProfiles) {
  const Floats v = {.5f, -1, 3, .25f, -.125f, 2, -6, 1, 0, -2, .75f, -.5f, 10, 1.5f, -.25f, .375f};
  const auto tables = artifact(kBook, halves(Floats(16)), halves(Floats(16)));
  for (const auto& [profile, word] : {std::pair("repo", 0x59619D71u), {"paper", 0x5B618D71u}}) {
    const Coded row =
        coded(std::string("kvquant:nuq2,o0.125,s0,cb=#00000000,profile=") + profile, tables, 16, v);
    EXPECT_EQ(row.word("v", 0, 16, 2), word) << profile;
    EXPECT_EQ(row.outliers("v", 0), (std::set<int>{6, 12}));
    EXPECT_EQ(test::from_f16(row.of<uint16_t>("v.hi")), Floats{3});
    EXPECT_EQ(test::from_f16(row.of<uint16_t>("v.lo")), Floats{-2});
    EXPECT_EQ(row.of<float>("v.decoded"),
              (Floats{-.125f, -1.6875f, 2.375f, -.125f, -.125f, 2.375f, -6, 1.125f, -.125f,
                      -1.6875f, 1.125f, -.125f, 10, 1.125f, -.125f, -.125f}));
  }
}

// Example 4.

TEST(Kvquant, CodesArePackedAlongChannels) {
  Floats book, x;
  for (int i = 0; i < 8; ++i) book.push_back((static_cast<float>(i) - 3.5f) / 4);
  for (size_t i = 0; i < 32; ++i) x.push_back(book[(5 * i + 3) % 8]);
  const auto all = [](float value, size_t count) { return halves(Floats(count, value)); };
  const Coded three =
      coded("kvquant:nuq3,cb=#00000000", artifact(book, all(-1, 32), all(1, 32)), 32, x);
  Words words(3);  // behind the tables: 8 codes, 32 pairs
  std::memcpy(words.data(), three.image.data() + 8 * 4 + 32 * 4, 12);
  EXPECT_EQ(words, (Words{0x43C67543, 0x7543C675, 0xC67543C6}));

  book.clear();
  x.clear();
  for (int i = 0; i < 16; ++i) book.push_back((static_cast<float>(i) - 7.5f) / 8);
  for (const size_t code : {2, 9, 0, 7, 14, 5, 12, 3}) x.push_back(book[code]);
  const Coded four =
      coded("kvquant:nuq4,cb=#00000000", artifact(book, all(-1, 8), all(1, 8)), 8, x);
  words.resize(1);
  std::memcpy(words.data(), four.image.data() + 16 * 4 + 8 * 4, 4);
  EXPECT_EQ(words, Words{0x3C5E7092});
}

TEST(Kvquant, Integers) {
  const auto tables = artifact({}, halves(Floats(4, -1.25f)), halves(Floats(4, 2.25f)));
  const Coded row = coded("kvquant:int3,cb=#00000000", tables, 4, {-1, 0, .5f, 3});
  EXPECT_EQ(row.of<uint8_t>("k.codes"), (Codes{0, 2, 4, 7}));
  EXPECT_EQ(row.of<float>("k.decoded"), (Floats{-1.25f, -.25f, .75f, 2.25f}));
  // lo = hi: the constant becomes 0, as in the official code.
  const auto constant = artifact({}, halves(Floats(2, 3.0f)), halves(Floats(2, 3.0f)));
  EXPECT_EQ(coded("kvquant:int3,cb=#00000000", constant, 2, {3, 3}).of<float>("k.decoded"),
            Floats(2));
}

// One token -1 .. 2: k = 7/3 (profile repo: 7 times the rounded 1/3), lo k = -7/3; whole: -2.
TEST(Kvquant, IntegersOfATokenHaveAWholeOffsetInProfilePaper) {
  const Floats x = {-1, -.5f, 0, .5f, 1, 2};
  const float k = 7.0f / 3.0f;
  const Coded whole = coded("kvquant:int3,kaxis=token,s0,profile=paper", nullptr, 6, x);
  EXPECT_EQ(whole.of<uint8_t>("v.codes"), (Codes{0, 1, 2, 3, 4, 7}));
  EXPECT_EQ(whole.of<float>("v.decoded")[2], 0.0f);
  EXPECT_EQ(whole.of<float>("v.decoded")[5], num::f16_round(5.0f / k));
  const Coded real = coded("kvquant:int3,kaxis=token", nullptr, 6, x);
  EXPECT_EQ(real.of<uint8_t>("v.codes"), (Codes{0, 1, 2, 4, 5, 7}));
  const float product = 1.0f / 3.0f * 7.0f;
  EXPECT_EQ(real.of<float>("v.decoded_fp32")[2], (2.0f - product) / product);
}

// Example 6.

TEST(Kvquant, RoundingOfKeys) {
  const auto tables = artifact(floats({0xBF666666, 0xBE9EB852, 0x3E8A3D71, 0x3F547AE1}),
                               {0xB99A, 0xC8A6, 0x211F, 0x4100}, {0x3CCD, 0x4366, 0x2A66, 0x4100});
  const std::vector<uint16_t> keys = {0x3554, 0xC133, 0x27B5, 0x4100, 0x3D00, 0x4366,
                                      0x29C3, 0x4180, 0xB9AE, 0xC61A, 0x2112, 0x4100,
                                      0x3400, 0x3800, 0x251F, 0x40CD};
  const std::vector<std::set<int>> outliers = {{}, {0, 3}, {0, 2}, {3}};
  const std::vector<uint16_t> result = {0x380D, 0xBC2D, 0x2888, 0x4100, 0x3D00, 0x4130,
                                        0x29F7, 0x4180, 0xB9AE, 0xC4D0, 0x2112, 0x4100,
                                        0x380D, 0xBC2D, 0x2618, 0x40CD};
  const auto run = [&](const std::string& more) {
    return coded("kvquant:nuq2,o0.25,s0,cb=#00000000" + more, tables, 4, test::from_f16(keys));
  };
  const Coded repo = run(""), half = run(",zr=fp16"), paper = run(",profile=paper");
  for (const Coded* rows : {&repo, &half, &paper}) {
    for (size_t t = 0; t < 4; ++t) EXPECT_EQ(rows->outliers("k", t), outliers[t]);
    auto expected = result;
    if (rows == &half) expected[5] = 0x4131;  // 0x402627ae, below
    EXPECT_EQ(halves(rows->of<float>("k.decoded")), expected);
  }
  EXPECT_EQ(repo.of<uint8_t>("k.codes"), (Codes{2, 2, 2, 0, 2, 3, 3, 0, 2, 1, 2, 0, 2, 2, 1, 0}));
  EXPECT_EQ(paper.of<uint8_t>("k.codes"), (Codes{2, 2, 2, 0, 3, 3, 3, 0, 0, 1, 0, 0, 2, 2, 1, 0}));
  EXPECT_EQ(repo.of<uint32_t>("k.decoded_fp32"),
            (Words{0x3F01AD71, 0xBF85AD70, 0x3D10F848, 0x40200000, 0x3FA00000, 0x40260D1E,
                   0x3D3ED41E, 0x40300000, 0xBF35C000, 0xC09A05EC, 0x3C224000, 0x40200000,
                   0x3F01AD71, 0xBF85AD70, 0x3CC2F252, 0x4019A000}));
  EXPECT_EQ(half.of<uint32_t>("k.decoded_fp32"),
            (Words{0x3F01AD71, 0xBF859C28, 0x3D10FB33, 0x40200000, 0x3FA00000, 0x402627AE,
                   0x3D3ED4CC, 0x40300000, 0xBF35C000, 0xC09A0AE2, 0x3C224000, 0x40200000,
                   0x3F01AD71, 0xBF859C28, 0x3CC2FCCD, 0x4019A000}));
}

TEST(Kvquant, RoundingOfAValueTokenWithATie) {
  const std::vector<uint16_t> v = {0x2E66, 0x409A, 0xB99A, 0x409A, 0x3866, 0xBF9A, 0x0000, 0xA7AE};
  const auto tables = artifact(floats({0xBF666666, 0xBE9EB852, 0x3E8A3D71, 0x3F547AE1}),
                               halves(Floats(8)), halves(Floats(8)));
  const auto run = [&](const std::string& more) {
    return coded("kvquant:nuq2,o0.25,s0,cb=#00000000" + more, tables, 8, test::from_f16(v));
  };
  const Coded repo = run(""), paper = run(",profile=paper");
  using Halves = std::vector<uint16_t>;
  EXPECT_EQ(repo.outliers("v", 0), (std::set<int>{1, 3, 5}));
  EXPECT_EQ(repo.of<uint16_t>("v.hi"), Halves{0x3866});
  EXPECT_EQ(repo.of<uint16_t>("v.lo"), Halves{0xB99A});
  EXPECT_EQ(repo.of<uint8_t>("v.codes"), (Codes{2, 2, 0, 2, 3, 2, 2, 2}));
  EXPECT_EQ(halves(repo.of<float>("v.decoded")),
            (Halves{0x2DFD, 0x409A, 0xB91A, 0x409A, 0x3719, 0xBF9A, 0x2DFD, 0x2DFD}));
  EXPECT_EQ(paper.outliers("v", 0), (std::set<int>{1, 5}));
  EXPECT_EQ(paper.of<uint16_t>("v.hi"), Halves{0x409A});
  EXPECT_EQ(paper.of<uint16_t>("v.lo"), Halves{0xB99A});
  EXPECT_EQ(paper.word("v", 0, 8, 2), 0x51CDu);
  EXPECT_EQ(halves(paper.of<float>("v.decoded")),
            (Halves{0x355D, 0x409A, 0xB867, 0x4017, 0x355D, 0xBF9A, 0x355D, 0x355D}));
}

// c' = c / 2 + 1/4 in the normalised domain; codes are those of c, outliers stay what they are.
TEST(Kvquant, QNormMovesTheDecodedCodebook) {
  const auto tables = artifact(kBook, halves(kLo), halves(kHi), {.5f, .25f});
  const Coded plain = coded("kvquant:nuq2,o0.25,cb=#00000000", tables, 8, kKeys);
  const Coded moved = coded("kvquant:nuq2,o0.25,qnorm,cb=#00000000", tables, 8, kKeys);
  EXPECT_EQ(plain.of<uint8_t>("k.codes"), moved.of<uint8_t>("k.codes"));
  EXPECT_EQ(plain.of<float>("k.outlier.value"), moved.of<float>("k.outlier.value"));
  const Floats decoded = moved.of<float>("k.decoded");
  EXPECT_EQ(decoded[0], .375f);   // code 2 of range [-1, 1]: .25 / 2 + .25
  EXPECT_EQ(decoded[3], 6.0f);    // an outlier
  EXPECT_EQ(decoded[4], 2.125f);  // code 1 of [1, 3]: -.25 / 2 + .25 + 2
}

}  // namespace
}  // namespace kvx
