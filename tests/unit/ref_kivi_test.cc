// The worked examples of ref/kivi.md and the state machine of the official cache.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;

// What one group of 32 values becomes on one side.
struct Group {
  uint16_t scale;
  uint16_t minimum;
  std::vector<uint8_t> codes;
  std::vector<uint32_t> words;
  std::vector<float> decoded;
};

// `values` fill a row of 32 channels (V) or 32 tokens of one channel (K; the other channels are 0).
Group coded(Side side, int bits, const std::vector<float>& values,
            NonFinite nonfinite = NonFinite::kRefuse) {
  EXPECT_EQ(values.size(), 32u);
  const std::string b = std::to_string(bits);
  const auto cache = test::make("kivi:k" + b + "v" + b + ",r0", 1, 32, Windows::kKept, nonfinite);
  Tensor k(32, 1, 32), v(32, 1, 32);
  for (size_t i = 0; i < 32; ++i) {
    if (side == Side::kV) v.values[i] = values[i];       // token 0
    if (side == Side::kK) k.values[i * 32] = values[i];  // channel 0
  }
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, v, 0, 32);
  const auto tensors = test::exported(*cache, seq);
  const std::string p = std::string(side_name(side)) + ".";
  Group group;
  group.scale = tensors.at(p + "scale").as<uint16_t>()[0];
  group.minimum = tensors.at(p + "zero").as<uint16_t>()[0];
  const auto codes = tensors.at(p + "codes").as<uint8_t>();
  const auto decoded = tensors.at(p + "decoded").as<float>();
  for (size_t i = 0; i < 32; ++i) {
    const size_t at = side == Side::kV ? i : i * 32;
    group.codes.push_back(codes[at]);
    group.decoded.push_back(decoded[at]);
  }
  const auto words =
      tensors.at(p + "packed").as<uint32_t>();  // both: the first words are the group's
  group.words.assign(words.begin(), words.begin() + bits);
  return group;
}

// A worked example whose group is shorter than 32: repeated, it has the same minimum, scale and
// codes.
void expect_group(int bits, const std::vector<float>& x, uint16_t scale, uint16_t minimum,
                  const std::vector<uint8_t>& codes, uint32_t word,
                  const std::vector<uint16_t>& decoded) {
  const int times = 32 / static_cast<int>(x.size());
  for (const Side side : {Side::kK, Side::kV}) {
    SCOPED_TRACE(side_name(side));
    const Group group = coded(side, bits, test::repeated(x, times));
    EXPECT_EQ(group.scale, scale);
    EXPECT_EQ(group.minimum, minimum);
    EXPECT_EQ(group.codes, test::repeated(codes, times));
    EXPECT_EQ(group.words, std::vector<uint32_t>(static_cast<size_t>(bits), word));
    EXPECT_EQ(test::patterns(group.decoded),
              test::patterns(test::from_f16(test::repeated(decoded, times))));
  }
}

float f16(uint16_t bits) { return num::f16_decode(bits); }

TEST(KiviGroup, TwoBitsWithNearTies) {
  const std::vector<float> x = {
      -1.0f, -0.75f, -0.5f,       -0.25f,      0.125f, 0.5f,        f16(0x8C01), 0.0f,
      0.25f, 0.625f, f16(0x3953), f16(0x3955), 0.75f,  f16(0x3B33), 1.0f,        f16(0xBB33)};
  const std::vector<uint8_t> codes = {0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 0};
  std::vector<uint16_t> decoded;
  for (const uint8_t c : codes)
    decoded.push_back(std::vector<uint16_t>{0xBC00, 0xB556, 0x3554, 0x3C00}[c]);
  expect_group(2, x, 0x3955, 0xBC00, codes, 0x3FAAAA50, decoded);
}

TEST(KiviGroup, TwoBitsOfARamp) {
  std::vector<float> x;
  for (int i = 0; i < 16; ++i) x.push_back(0.75f * static_cast<float>(i % 5) - 1.5f);
  const std::vector<uint8_t> codes = {0, 1, 2, 2, 3, 0, 1, 2, 2, 3, 0, 1, 2, 2, 3, 0};
  std::vector<uint16_t> decoded;
  for (const uint8_t c : codes)
    decoded.push_back(std::vector<uint16_t>{0xBE00, 0xB800, 0x3800, 0x3E00}[c]);
  expect_group(2, x, 0x3C00, 0xBE00, codes, 0x3A4E93A4, decoded);
}

TEST(KiviGroup, FourBits) {
  const std::vector<float> x = {f16(0x2E66), f16(0xB5EC), f16(0x3A7B), f16(0x3D14),
                                f16(0xBF9A), f16(0x409A), 0.0f,        f16(0xB866)};
  // The last two repeat codes 7 and 5.
  expect_group(4, x, 0x347C, 0xBF9A, {7, 5, 10, 11, 0, 15, 7, 5}, 0x57F0BA57,
               {0x2BE0, 0xB7FC, 0x3B38, 0x3CBA, 0xBF9A, 0x409B, 0x2BE0, 0xB7FC});
}

TEST(KiviGroup, Underflow) {
  const float tiny = 0x1p-24f;
  expect_group(2, test::repeated<float>({tiny, 0}, 8), 0x0000, 0x0000,
               test::repeated<uint8_t>({3, 0}, 8), 0x33333333, test::repeated<uint16_t>({0, 0}, 8));
  expect_group(2, test::repeated<float>({2 * tiny, 0, tiny, 0}, 4), 0x0001, 0x0000,
               test::repeated<uint8_t>({2, 0, 1, 0}, 4), 0x12121212,
               test::repeated<uint16_t>({2, 0, 1, 0}, 4));
  expect_group(4, {0, 22 * tiny, 11 * tiny, 7 * tiny, 15 * tiny, 16 * tiny, tiny, 0}, 0x0001,
               0x0000, {0, 15, 11, 7, 15, 15, 1, 0}, 0x01FF7BF0, {0, 15, 11, 7, 15, 15, 1, 0});
}

TEST(KiviGroup, SignedZerosAndOverflow) {
  for (const int bits : {2, 4, 8}) {
    const std::vector<uint8_t> zeros(16, 0);
    const std::vector<uint16_t> decoded(16, 0x0000);
    expect_group(bits, test::repeated<float>({0.0f, -0.0f}, 8), 0, 0x8000, zeros, 0, decoded);
    expect_group(bits, test::repeated<float>({-0.0f, 0.0f}, 8), 0, 0x8000, zeros, 0, decoded);
    expect_group(bits, std::vector<float>(16, -0.0f), 0, 0x8000, zeros, 0, decoded);
    expect_group(bits, std::vector<float>(16, 0.0f), 0, 0x0000, zeros, 0, decoded);
    expect_group(bits, std::vector<float>(16, 5.0f), 0, 0x4500, zeros, 0,
                 std::vector<uint16_t>(16, 0x4500));
    expect_group(bits, test::repeated<float>({65504.0f, -65504.0f}, 8), 0x7C00, 0xFBFF, zeros, 0,
                 std::vector<uint16_t>(16, 0x7E00));
  }
}

TEST(KiviGroup, NonFiniteInputWhereLetThrough) {
  std::vector<float> ramp;
  for (int i = 0; i < 32; ++i) ramp.push_back(static_cast<float>(i));
  const float infinity = INFINITY;
  {
    std::vector<float> x = ramp;
    x[7] = NAN;
    const Group group = coded(Side::kK, 4, x, NonFinite::kPropagate);
    EXPECT_EQ(group.minimum, 0);
    EXPECT_EQ(group.codes[7], 0);
    EXPECT_EQ(group.decoded[7], 0.0f);
    EXPECT_EQ(group.codes[31], 15);
  }
  const auto all_nan = [](const Group& group) {
    for (const uint8_t code : group.codes) EXPECT_EQ(code, 0);
    for (const float x : group.decoded) EXPECT_TRUE(std::isnan(x));
  };
  std::vector<float> x = ramp;
  x[5] = infinity;
  Group group = coded(Side::kV, 2, x, NonFinite::kPropagate);
  EXPECT_EQ(group.scale, 0x7C00);
  EXPECT_EQ(group.minimum, 0);
  all_nan(group);
  x[5] = -infinity;
  group = coded(Side::kV, 2, x, NonFinite::kPropagate);
  EXPECT_EQ(group.scale, 0x7C00);
  EXPECT_EQ(group.minimum, 0xFC00);
  all_nan(group);
  group = coded(Side::kK, 2, std::vector<float>(32, infinity), NonFinite::kPropagate);
  EXPECT_EQ(group.scale, 0x7E00);
  EXPECT_EQ(group.minimum, 0x7C00);
  all_nan(group);
  group = coded(Side::kK, 2, std::vector<float>(32, NAN), NonFinite::kPropagate);
  EXPECT_EQ(group.scale, 0x7E00);
  EXPECT_EQ(group.minimum, 0x7E00);
  all_nan(group);
}

TEST(KiviBlock, KeysOfOneChannel) {
  std::vector<float> x;
  for (int t = 0; t < 32; ++t) x.push_back(-3.0f + 0.1875f * static_cast<float>(t));
  const Group group = coded(Side::kK, 2, x);
  EXPECT_EQ(group.minimum, 0xC200);
  EXPECT_EQ(group.scale, 0x3FC0);
  EXPECT_EQ(group.words, (std::vector<uint32_t>{0x55555000, 0xFFFAAAAA}));
  const float levels[] = {-3.0f, -1.0625f, 0.875f, 2.8125f};
  for (int t = 0; t < 32; ++t) {
    EXPECT_EQ(group.decoded[static_cast<size_t>(t)], levels[t < 6    ? 0
                                                            : t < 16 ? 1
                                                            : t < 26 ? 2
                                                                     : 3]);
  }
}

// The official packed tensors: K [kv heads][D][Tk/W], V [kv heads][Tv][D/W].
TEST(KiviBlock, PackedTensorsHaveTheOfficialLayout) {
  const int heads = 2, dim = 64;
  const int64_t tokens = 3 * 128 + 50;
  const auto cache = test::make("kivi:k2v4,g32,r128", heads, dim);
  const SeqId seq = cache->open();
  const Tensor k = test::filled(gen::Fill::kHeavy, 1, 0, tokens, heads, dim);
  const Tensor v = test::filled(gen::Fill::kNormal, 1, 1, tokens, heads, dim);
  test::append(*cache, seq, k, v, 0, tokens);
  const auto tensors = test::exported(*cache, seq);
  const int64_t tk = 384, tv = tokens - 128;
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(tensors.at("k.codes").shape, (Shape{heads, tokens, dim}));
  EXPECT_EQ(tensors.at("k.scale").shape, (Shape{heads, tokens / 32, dim}));
  EXPECT_EQ(tensors.at("v.scale").shape, (Shape{heads, tokens, dim / 32}));
  EXPECT_EQ(tensors.at("v.zero").shape, (Shape{heads, tokens, dim / 32}));
  EXPECT_EQ(tensors.at("k.packed").shape, (Shape{heads, dim, tk / 16}));
  EXPECT_EQ(tensors.at("v.packed").shape, (Shape{heads, tv, dim / 8}));
  EXPECT_EQ(tensors.at("k.packed").dtype, "I32");
  const auto k_codes = tensors.at("k.codes").as<uint8_t>();
  const auto v_codes = tensors.at("v.codes").as<uint8_t>();
  const auto k_words = tensors.at("k.packed").as<uint32_t>();
  const auto v_words = tensors.at("v.packed").as<uint32_t>();
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t d = 0; d < dim; ++d) {
        const auto at = static_cast<size_t>((h * tokens + t) * dim + d);
        const uint32_t k_code =
            t < tk ? k_words[static_cast<size_t>((h * dim + d) * (tk / 16) + t / 16)] >>
                             (2 * (t % 16)) &
                         3
                   : 0;
        const uint32_t v_code =
            t < tv
                ? v_words[static_cast<size_t>((h * tv + t) * (dim / 8) + d / 8)] >> (4 * (d % 8)) &
                      15
                : 0;
        ASSERT_EQ(k_codes[at], k_code);
        ASSERT_EQ(v_codes[at], v_code);
      }
    }
  }
  const auto sealed = tensors.at("v.sealed").as<uint8_t>();
  for (int64_t t = 0; t < tokens; ++t) EXPECT_EQ(sealed[static_cast<size_t>(t)], t < tv ? 1 : 0);
}

// Counts (K sealed, K exact, V sealed, V exact).
std::array<int64_t, 4> state(const LayerCache& cache, SeqId seq) {
  std::array<int64_t, 4> counts{};
  for (const Side side : {Side::kK, Side::kV}) {
    for (const RowRange& range : cache.held(seq, side)) {
      counts[(side == Side::kV ? 2 : 0) + (range.held == Held::kExact ? 1 : 0)] += range.count;
    }
  }
  return counts;
}

TEST(KiviState, TimelineOfTheOfficialCache) {
  const auto after_prompt = [](int64_t tokens) {
    const auto cache = test::make("kivi:k2v2", 1, 32);
    const SeqId seq = cache->open();
    const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, tokens, 1, 32);
    test::append(*cache, seq, x, x, 0, tokens);
    return state(*cache, seq);
  };
  using Counts = std::array<int64_t, 4>;
  EXPECT_EQ(after_prompt(100), (Counts{0, 100, 0, 100}));
  EXPECT_EQ(after_prompt(127), (Counts{0, 127, 0, 127}));
  EXPECT_EQ(after_prompt(128), (Counts{128, 0, 0, 128}));
  EXPECT_EQ(after_prompt(129), (Counts{128, 1, 1, 128}));
  EXPECT_EQ(after_prompt(300), (Counts{256, 44, 172, 128}));

  const auto cache = test::make("kivi:k2v2", 1, 32);
  const SeqId seq = cache->open();
  const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, 384, 1, 32);
  test::append(*cache, seq, x, x, 0, 300);
  for (int64_t t = 300; t < 383; ++t) test::append(*cache, seq, x, x, t, 1);
  EXPECT_EQ(state(*cache, seq), (Counts{256, 127, 255, 128}));
  test::append(*cache, seq, x, x, 383, 1);
  EXPECT_EQ(state(*cache, seq), (Counts{384, 0, 256, 128}));
  // Its attention still used 128 exact keys and 129 exact values.
  EXPECT_EQ(cache->reads(seq, Side::kK, 383),
            (ReadMap{{0, 256, Held::kSealed}, {256, 128, Held::kExact}}));
  EXPECT_EQ(cache->reads(seq, Side::kV, 383),
            (ReadMap{{0, 255, Held::kSealed}, {255, 129, Held::kExact}}));
}

// The official decode step written out as counters: what a query reads, then what is left.
struct Official {
  int64_t r, k_sealed = 0, k_exact = 0, v_sealed = 0, v_exact = 0;
  void prompt(int64_t tokens) {
    k_exact = tokens % r;
    k_sealed = tokens - k_exact;
    v_exact = std::min(tokens, r);
    v_sealed = tokens - v_exact;
  }
  // Returns what the step's query reads exactly: keys, values.
  std::pair<int64_t, int64_t> step() {
    const std::pair<int64_t, int64_t> read = {k_exact + 1, v_exact + 1};
    if (++k_exact == r) {
      k_sealed += r;
      k_exact = 0;
    }
    if (++v_exact == r + 1) {
      ++v_sealed;
      --v_exact;
    }
    return read;
  }
};

TEST(KiviState, PromptsThenThreeWindowsOfDecoding) {
  for (const int64_t r : {32, 64}) {
    for (const int64_t prompt : {int64_t{1}, r - 1, r, r + 1, 2 * r, 2 * r + 1}) {
      const auto cache = test::make("kivi:k2v2,r" + std::to_string(r), 1, 32);
      const SeqId seq = cache->open();
      const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, prompt + 3 * r, 1, 32);
      Official official{.r = r};
      official.prompt(prompt);
      test::append(*cache, seq, x, x, 0, prompt);
      for (int64_t t = prompt; t < x.tokens; ++t) {
        const auto [keys, values] = official.step();
        test::append(*cache, seq, x, x, t, 1);
        ASSERT_EQ(cache->reads(seq, Side::kK, t).back(),
                  (RowRange{t + 1 - keys, keys, Held::kExact}));
        ASSERT_EQ(cache->reads(seq, Side::kV, t).back(),
                  (RowRange{t + 1 - values, values, Held::kExact}));
        ASSERT_EQ(state(*cache, seq),
                  (std::array<int64_t, 4>{official.k_sealed, official.k_exact, official.v_sealed,
                                          official.v_exact}));
      }
    }
  }
}

TEST(KiviState, ProfilesAndNoWindow) {
  struct Case {
    const char* descriptor;
    Windows windows;
    int64_t query, k_read, v_read;  // tokens read decoded, by the last query of query + 1 tokens
    int64_t k_held, v_held;
  };
  const Case cases[] = {
      {"kivi:k2v2", Windows::kKept, 255, 128, 127, 256, 128},
      {"kivi:k2v2,profile=paper", Windows::kKept, 255, 256, 128, 256, 128},
      {"kivi:k2v2,profile=paper", Windows::kKept, 254, 128, 127, 128, 127},
      {"kivi:k2v2,r0", Windows::kKept, 63, 32, 63, 64, 64},
      {"kivi:k2v2,r0,profile=paper", Windows::kKept, 63, 64, 64, 64, 64},
      {"kivi:k2v2,g64,r0", Windows::kKept, 70, 64, 70, 64, 71},
      {"kivi:k2v2", Windows::kNone, 200, 192, 201, 192, 201},
      {"kivi:k2v2,g64,profile=paper", Windows::kNone, 127, 128, 128, 128, 128},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.descriptor);
    const auto cache = test::make(c.descriptor, 1, 64, c.windows);
    const SeqId seq = cache->open();
    const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, c.query + 1, 1, 64);
    test::append(*cache, seq, x, x, 0, c.query + 1);
    const auto decoded = [](const ReadMap& map) {
      return map[0].held == Held::kSealed ? map[0].count : 0;
    };
    EXPECT_EQ(decoded(cache->reads(seq, Side::kK, c.query)), c.k_read);
    EXPECT_EQ(decoded(cache->reads(seq, Side::kV, c.query)), c.v_read);
    EXPECT_EQ(decoded(cache->held(seq, Side::kK)), c.k_held);
    EXPECT_EQ(decoded(cache->held(seq, Side::kV)), c.v_held);
  }
}

double bits_per_value(const std::string& descriptor, int64_t tokens, int kv_heads, int head_dim) {
  const auto cache = test::make(descriptor, kv_heads, head_dim);
  const SeqId seq = cache->open();
  const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, tokens, kv_heads, head_dim);
  test::append(*cache, seq, x, x, 0, tokens);
  return 8.0 * static_cast<double>(cache->image(seq).size()) /
         static_cast<double>(2 * tokens * kv_heads * head_dim);
}

TEST(KiviBits, CountedFromTheImage) {
  EXPECT_NEAR(bits_per_value("kivi:k2v2", 2048, 2, 64), 3.406, 0.0005);
  // Everything sealed: b + 32 / g.
  EXPECT_EQ(bits_per_value("kivi:k2v2,r0", 64, 1, 128), 3.0);
  EXPECT_EQ(bits_per_value("kivi:k2v2,g64,r0", 64, 1, 128), 2.5);
  EXPECT_EQ(bits_per_value("kivi:k4v4,g128,r0", 128, 1, 128), 4.25);
  EXPECT_EQ(bits_per_value("kivi:k8v8,r0", 64, 1, 128), 9.0);
}

// The published averages are means over the position within a window, of lengths around T.
TEST(KiviBits, PublishedAverages) {
  struct Row {
    const char* descriptor;
    int64_t window;
    double at_1024, at_2048, at_4096;
  };
  for (const Row& row :
       {Row{"kivi:k2v2", 128, 4.22, 3.61, 3.30}, Row{"kivi:k2v2,r32", 32, 3.30, 3.15, 3.08},
        Row{"kivi:k2v2,g128", 128, 3.54, 2.89, 2.57}, Row{"kivi:k4v4", 128, 6.03, 5.52, 5.26}}) {
    const auto cache = test::make(row.descriptor, 1, 128);
    const SeqId seq = cache->open();
    const Tensor x = test::filled(gen::Fill::kNormal, 2, 0, 4096 + row.window, 1, 128);
    int64_t length = 0;
    const auto mean = [&](int64_t tokens) {
      double total = 0;
      test::append(*cache, seq, x, x, length, tokens - row.window / 2 - length);
      for (length = tokens - row.window / 2; length < tokens + row.window / 2;) {
        test::append(*cache, seq, x, x, length++, 1);
        const int64_t bytes =
            cache->used(seq, Side::kK).total() + cache->used(seq, Side::kV).total();
        total += 8.0 * static_cast<double>(bytes) / static_cast<double>(2 * length * 128);
      }
      return total / static_cast<double>(row.window);
    };
    EXPECT_NEAR(mean(1024), row.at_1024, 0.02) << row.descriptor;
    EXPECT_NEAR(mean(2048), row.at_2048, 0.02) << row.descriptor;
    EXPECT_NEAR(mean(4096), row.at_4096, 0.02) << row.descriptor;
  }
}

TEST(Kivi, RefusesShapesThatDoNotFit) {
  const auto message = [](const std::string& descriptor, int dim) {
    try {
      test::make(descriptor, 1, dim);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kUsage);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message("kivi:k2v2,g128", 64), "kivi: g=128 does not divide the head dim 64");
  EXPECT_EQ(message("kivi:k2v2", 80), "kivi: g=32 does not divide the head dim 80");
  EXPECT_EQ(message("kivi:k2v2,g64,r96", 64), "kivi: r=96 is not a multiple of g=64");
  EXPECT_EQ(message("kivi:k2v2,g64,r0", 64), "");
}

}  // namespace
}  // namespace kvx
