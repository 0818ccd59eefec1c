// What a cache refuses, and what it keeps for the queries of the last append.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;

constexpr int kHeads = 2;
constexpr int kDim = 32;

Tensor normal(int64_t tokens, uint32_t tensor = 0) {
  return test::filled(gen::Fill::kNormal, 5, tensor, tokens, kHeads, kDim);
}

std::string append_error(LayerCache& cache, const Tensor& k, const Tensor& v,
                         std::span<const Span> spans) {
  try {
    cache.append(k.view(), v.view(), spans);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kEnvironment);
    return error.what();
  }
  return "";
}

TEST(CacheAppend, NonFiniteInputIsNamedAndNothingIsAppended) {
  const auto cache = test::make("kivi:k2v2,r32", kHeads, kDim);
  const SeqId a = cache->open(), b = cache->open();
  const Tensor start = normal(40);
  test::append(*cache, a, start, start, 0, 40);
  const auto image = cache->image(a);

  // Tokens 40, 41 of a and 0 .. 2 of b; the last value of the batch's last row of v is bad.
  const Span spans[] = {{.seq = a, .first = 40, .count = 2}, {.seq = b, .first = 0, .count = 3}};
  const Tensor k = normal(5, 1);
  Tensor v = normal(5, 2);
  v.values.back() = 65520.0f;
  EXPECT_EQ(append_error(*cache, k, v, spans),
            "layer 3, v, head 1, token 2, channel 31: 65520.000000 is not finite in f16");
  v.values[size_t{kHeads} * kDim + 7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(append_error(*cache, k, v, spans),
            "layer 3, v, head 0, token 41, channel 7: nan is not finite in f16");
  EXPECT_EQ(cache->image(a), image);
  EXPECT_EQ(cache->length(a), 40);
  EXPECT_EQ(cache->length(b), 0);
  // The queries of the append before it can still read.
  EXPECT_EQ(test::read(*cache, a, Side::kK, {0, 1, Held::kExact}).values[0],
            num::f16_round(start.values[0]));

  const auto lenient =
      test::make("kivi:k2v2,r32", kHeads, kDim, Windows::kKept, NonFinite::kPropagate);
  const Span span{.seq = lenient->open(), .first = 0, .count = 5};
  EXPECT_EQ(append_error(*lenient, k, v, {&span, 1}), "");
  EXPECT_EQ(test::read_held(*lenient, span.seq, Side::kV).back(),
            std::numeric_limits<float>::infinity());
}

TEST(CacheAppend, Float32IsNotRefusedForItsSize) {
  const auto cache = test::make("fp:f32", kHeads, kDim);
  Tensor x = normal(1);
  x.values[0] = std::numeric_limits<float>::max();
  const Span span{.seq = cache->open(), .first = 0, .count = 1};
  EXPECT_EQ(append_error(*cache, x, x, {&span, 1}), "");
  x.values[0] = INFINITY;
  const Span next{.seq = span.seq, .first = 1, .count = 1};
  EXPECT_EQ(append_error(*cache, x, x, {&next, 1}),
            "layer 3, k, head 0, token 1, channel 0: inf is not finite in f32");
}

TEST(CacheAppend, CallerMistakes) {
  const auto cache = test::make("fp:f16", kHeads, kDim);
  const SeqId seq = cache->open();
  const Tensor x = normal(4);
  const auto append = [&](const Tensor& k, std::initializer_list<Span> spans) {
    cache->append(k.view(), x.view(), {spans.begin(), spans.size()});
  };
  EXPECT_THROW(append(x, {{.seq = seq, .first = 1, .count = 4}}), std::logic_error);
  EXPECT_THROW(append(x, {{.seq = seq, .first = 0, .count = 3}}), std::logic_error);
  EXPECT_THROW(append(x, {{.seq = seq + 1, .first = 0, .count = 4}}), std::logic_error);
  EXPECT_THROW(append(normal(3), {{.seq = seq, .first = 0, .count = 4}}), std::logic_error);
  EXPECT_THROW(append(Tensor(4, 1, kDim), {{.seq = seq, .first = 0, .count = 4}}),
               std::logic_error);
  EXPECT_THROW(append(Tensor(4, 4, kDim), {{.seq = seq, .first = 0, .count = 4}}),
               std::logic_error);
  EXPECT_THROW(
      append(x, {{.seq = seq, .first = 0, .count = 2}, {.seq = seq, .first = 2, .count = 2}}),
      std::logic_error);
  EXPECT_EQ(cache->length(seq), 0);
  append(x, {{.seq = seq, .first = 0, .count = 4}});
  EXPECT_EQ(cache->length(seq), 4);
  EXPECT_THROW(cache->reads(seq, Side::kK, 4), std::logic_error);
  EXPECT_THROW(test::read(*cache, seq, Side::kK, {0, 5, Held::kSealed}), std::logic_error);
  EXPECT_THROW(cache->truncate(seq, 5), Error);
  cache->close(seq);
  EXPECT_THROW(cache->length(seq), std::logic_error);
}

TEST(CacheRead, ExactRowsOfTheLastAppendLastUntilTheNext) {
  const auto cache = test::make("kivi:k2v2,r32", kHeads, kDim);
  const SeqId seq = cache->open();
  const Tensor x = normal(100);
  test::append(*cache, seq, x, x, 0, 70);
  const RowRange all{0, 70, Held::kExact};
  const Tensor exact = test::read(*cache, seq, Side::kK, all);
  for (size_t i = 0; i < exact.values.size(); ++i)
    ASSERT_EQ(exact.values[i], num::f16_round(x.values[i]));
  const auto image = cache->image(seq);
  cache->settle(seq);
  EXPECT_THROW(test::read(*cache, seq, Side::kK, all), std::logic_error);
  EXPECT_EQ(cache->image(seq), image);
  EXPECT_EQ(cache->held(seq, Side::kK), (ReadMap{{0, 64, Held::kSealed}, {64, 6, Held::kExact}}));
  EXPECT_THROW(cache->reads(seq, Side::kK, 69), std::logic_error);
  test::append(*cache, seq, x, x, 70, 30);
  EXPECT_EQ(cache->reads(seq, Side::kK, 70),
            (ReadMap{{0, 64, Held::kSealed}, {64, 7, Held::kExact}}));
  EXPECT_EQ(test::read(*cache, seq, Side::kK, {64, 7, Held::kExact}).values[0],
            num::f16_round(x.view().row(64, 0)[0]));
}

TEST(CacheTruncate, RefusalNamesTheRows) {
  const auto cache = test::make("kivi:k2v2,r32", kHeads, kDim);
  const SeqId seq = cache->open();
  const Tensor x = normal(100);
  test::append(*cache, seq, x, x, 0, 100);
  try {
    cache->truncate(seq, 90);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "cannot truncate to 90 tokens: layer 3, k, tokens 64 .. 89 would be exact and are "
                 "sealed already");
  }
}

TEST(CacheLayout, NamesEveryRun) {
  const auto cache = test::make("kivi:k2v2,r32", kHeads, kDim);
  const auto entries = cache->layout(33);
  std::vector<std::string> names;
  for (const LayoutEntry& entry : entries)
    names.push_back(entry.name + " " + entry.dtype + " " + entry.shape);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "k.head0.block0.codes u2 [D][g]", "k.head0.block0.scale f16 [D]",
                       "k.head0.block0.zero f16 [D]", "k.head1.block0.codes u2 [D][g]",
                       "k.head1.block0.scale f16 [D]", "k.head1.block0.zero f16 [D]",
                       "k.head0.exact f16 [1][32]", "k.head1.exact f16 [1][32]",
                       "v.head0.block0.codes u2 [D/g][g]", "v.head0.block0.scale f16 [D/g]",
                       "v.head0.block0.zero f16 [D/g]", "v.head1.block0.codes u2 [D/g][g]",
                       "v.head1.block0.scale f16 [D/g]", "v.head1.block0.zero f16 [D/g]",
                       "v.head0.exact f16 [32][32]", "v.head1.exact f16 [32][32]"}));
  EXPECT_FALSE(cache->policy(Side::kK).empty());
}

}  // namespace
}  // namespace kvx
