// The reference's layer under load: what is counted and computed, by caches of its own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "eval/bench/host_layer.h"
#include "eval/bench/measure.h"
#include "ref/registry.h"

namespace kvx::bench {
namespace {

constexpr BenchShape kShape{
    .q_heads = 4, .kv_heads = 2, .head_dim = 64, .sequences = 3, .tokens = 200, .queries = 2};

std::unique_ptr<LayerBench> layer_of(const char* scheme, const BenchInputs& inputs) {
  return make_host_layer(ref::factory(Descriptor::parse(scheme)), {}, kShape, inputs);
}

TEST(HostLayer, CountsBytes) {
  const auto layer = layer_of("fp:f16", bench_inputs(kShape));
  // [sequences][tokens][heads][dim], K and V: binary16 in the cache, binary32 on the way in.
  const int64_t per_token = 3 * 2 * 64 * 2;
  EXPECT_EQ(layer->bytes(BenchOp::kAttend), 202 * per_token * 2);
  EXPECT_EQ(layer->bytes(BenchOp::kAppend), 2 * per_token * 4);
  EXPECT_EQ(layer->bytes(BenchOp::kStep), 202 * per_token * 2 + 2 * per_token * 4);
  EXPECT_EQ(layer->bytes(BenchOp::kEncode), 200 * per_token * (4 + 2));
  EXPECT_EQ(layer->length(BenchOp::kAttend), 202);
  EXPECT_EQ(layer->length(BenchOp::kEncode), 200);
  EXPECT_FALSE(layer->has(BenchOp::kSeal));
}

// K groups of 32 tokens behind a window of 128 tokens: 200 + 2 seals none, 222 + 2 = 128 + 96 does.
TEST(HostLayer, KnowsWhenAUnitIsSealed) {
  const auto layer = layer_of("kivi:k2v2,g32,r128", bench_inputs(kShape));
  ASSERT_TRUE(layer->has(BenchOp::kSeal));
  const auto cache = ref::make_cache(Descriptor::parse("kivi:k2v2,g32,r128"),
                                     {.shape = {.layer = 0, .kv_heads = 1, .head_dim = 64}});
  const SeqId seq = cache->open();
  const std::vector<float> row(64, 1.0f);
  const auto sealed_at = [&](int64_t length) {
    while (cache->length(seq) < length) {
      const Span span{.seq = seq, .first = cache->length(seq), .count = 1};
      const ConstRows rows = dense_rows(row.data(), 1, 1, 64);
      cache->append(rows, rows, {&span, 1});
      cache->settle(seq);
    }
    int64_t tokens = 0;
    for (const RowRange& range : cache->held(seq, kvx::Side::kK))
      tokens += range.held == Held::kSealed ? range.count : 0;
    return tokens;
  };
  const int64_t append = layer->length(BenchOp::kAppend), seal = layer->length(BenchOp::kSeal);
  const int64_t before_append = sealed_at(append - 2);
  EXPECT_EQ(sealed_at(append), before_append);
  const int64_t before_seal = sealed_at(seal - 2);
  EXPECT_GT(sealed_at(seal), before_seal + 2);
}

TEST(HostLayer, AttendsWhatItWasGiven) {
  for (const char* scheme : {"fp:f16", "int:k4v4", "kivi:k2v2"}) {
    SCOPED_TRACE(scheme);
    const BenchInputs inputs = bench_inputs(kShape);
    const auto layer = layer_of(scheme, inputs);
    const BenchTimes times = layer->time(BenchOp::kAttend, 2);
    ASSERT_EQ(times.seconds.size(), 2u);
    for (const double seconds : times.seconds) EXPECT_GT(seconds, 0);
    const std::vector<float> timed = layer->attended(true), once = layer->attended(false);
    ASSERT_EQ(timed.size(), size_t{3 * 2 * 4 * 64});
    EXPECT_EQ(std::memcmp(timed.data(), once.data(), timed.size() * sizeof(float)), 0);

    // The second sequence in a cache of its own: rows 0 .. 199 of the inputs, then rows 2 and 3.
    const auto cache = ref::make_cache(Descriptor::parse(scheme),
                                       {.shape = {.layer = 0, .kv_heads = 2, .head_dim = 64}});
    const SeqId seq = cache->open();
    const auto append = [&](int64_t row, int64_t count) {
      const Span span{.seq = seq, .first = cache->length(seq), .count = count};
      const auto rows = [&](const std::vector<float>& from) {
        return dense_rows(from.data() + row * 2 * 64, count, 2, 64);
      };
      cache->append(rows(inputs.k), rows(inputs.v), {&span, 1});
      return span;
    };
    append(0, 200);
    cache->settle(seq);
    ASSERT_EQ(layer->length(BenchOp::kAttend), 202);
    const Span last = append(2, 2);
    constexpr size_t kValues = 2 * 4 * 64;
    std::vector<float> expected(kValues);
    cache->attend(dense_rows(inputs.q.data() + kValues, 2, 4, 64), {&last, 1},
                  dense_rows(expected.data(), 2, 4, 64));
    EXPECT_EQ(std::memcmp(timed.data() + kValues, expected.data(), kValues * sizeof(float)), 0);
  }
}

TEST(HostLayer, TimesEveryOperationAgainAndAgain) {
  const auto layer = layer_of("kivi:k4v2", bench_inputs(kShape));
  for (int round = 0; round < 2; ++round)
    for (int op = 0; op < kBenchOps; ++op) {
      const BenchTimes times = layer->time(static_cast<BenchOp>(op), 3);
      ASSERT_EQ(times.seconds.size(), 3u);
      for (const double seconds : times.seconds) EXPECT_GT(seconds, 0);
    }
  EXPECT_EQ(layer->length(BenchOp::kAttend), 202);
}

TEST(HostRates, ArePositive) {
  const HostRates rates = host_rates(1);
  EXPECT_GT(rates.read.at(0), 1e8);
  EXPECT_GT(rates.copy.at(0), 1e8);
}

}  // namespace
}  // namespace kvx::bench
