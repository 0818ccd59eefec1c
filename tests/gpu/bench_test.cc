// `kvx bench` on the device at small shapes: bytes against the reference's count, attention of the
// timed graphs against a call by itself and against the reference, bit for bit. Skipped where there
// is no device.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "eval/bench/measure.h"
#include "gpu/bench/registry.h"
#include "gpu/registry.h"
#include "ref/registry.h"
#include "sim/num/rope.h"
#include "tests/support/artifacts.h"
#include "tests/support/program.h"

namespace kvx {
namespace {

constexpr int kSamples = 2;

class BenchCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

// Rows of all sequences' contexts, so that every cache is filled with the same.
BenchInputs inputs_of(const BenchShape& shape) {
  BenchInputs inputs = bench::bench_inputs(shape);
  const auto values = static_cast<size_t>(shape.sequences * shape.tokens * shape.kv_heads) *
                      static_cast<size_t>(shape.head_dim);
  for (std::vector<float>* side : {&inputs.k, &inputs.v}) {
    const std::vector<float> block = *side;
    side->resize(values);
    for (size_t i = 0; i < values; ++i) (*side)[i] = block[i % block.size()];
  }
  inputs.rows = shape.sequences * shape.tokens;
  return inputs;
}

CacheConfig config_of(const BenchShape& shape) {
  return {.shape = {.layer = 0, .kv_heads = shape.kv_heads, .head_dim = shape.head_dim},
          .artifacts = test::test_artifacts(),
          .rope_steps = num::rope_steps(shape.head_dim, 10000, {})};
}

// The reference with the same sequences, after a step.
struct Expected {
  int64_t filled = 0, used = 0;
  std::vector<float> out;
};
Expected expected_of(const char* scheme, const BenchShape& shape, const BenchInputs& inputs,
                     int64_t length) {
  const auto cache = ref::make_cache(Descriptor::parse(scheme), config_of(shape));
  Expected expected;
  const int64_t row_values = int64_t{shape.kv_heads} * shape.head_dim;
  const auto append = [&](SeqId seq, int64_t row, int64_t count) {
    const Span span{.seq = seq, .first = cache->length(seq), .count = count};
    const auto rows = [&](const std::vector<float>& from) {
      return dense_rows(from.data() + row * row_values, count, shape.kv_heads, shape.head_dim);
    };
    cache->append(rows(inputs.k), rows(inputs.v), {&span, 1});
    return span;
  };
  const auto used = [&](SeqId seq) {
    return cache->used(seq, Side::kK).total() + cache->used(seq, Side::kV).total();
  };
  const int64_t values = shape.queries * shape.q_heads * shape.head_dim;
  expected.out.resize(static_cast<size_t>(shape.sequences * values));
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const SeqId seq = cache->open();
    append(seq, s * shape.tokens, shape.tokens);
    cache->settle(seq);
    expected.filled += used(seq);
    // Further tokens are filled in as a pass of their own: rows from the first on.
    const int64_t more = length - shape.queries - shape.tokens;
    if (more > 0) {
      append(seq, s * more, more);
      cache->settle(seq);
    }
    const Span step = append(seq, s * shape.queries, shape.queries);
    expected.used += used(seq);
    cache->attend(
        dense_rows(inputs.q.data() + s * values, shape.queries, shape.q_heads, shape.head_dim),
        {&step, 1},
        dense_rows(expected.out.data() + s * values, shape.queries, shape.q_heads, shape.head_dim));
  }
  return expected;
}

void expect_as_the_reference(const char* scheme, const BenchShape& shape) {
  SCOPED_TRACE(std::string(scheme) + ", " + bench::shape_text(shape));
  const BenchInputs inputs = inputs_of(shape);
  const auto layer =
      gpu::make_layer_bench(Descriptor::parse(scheme), config_of(shape), shape, inputs);
  const Expected expected = expected_of(scheme, shape, inputs, layer->length(BenchOp::kAttend));
  const int64_t in = shape.sequences * shape.kv_heads * shape.head_dim * 2 * 2;
  EXPECT_EQ(layer->bytes(BenchOp::kAttend), expected.used);
  EXPECT_EQ(layer->bytes(BenchOp::kEncode), expected.filled + in * shape.tokens);
  EXPECT_EQ(layer->bytes(BenchOp::kStep), expected.used + in * shape.queries);
  const auto equal = [&](const std::vector<float>& found) {
    return found.size() == expected.out.size() &&
           std::memcmp(found.data(), expected.out.data(), found.size() * sizeof(float)) == 0;
  };
  EXPECT_TRUE(equal(layer->attended(false)));
  const BenchTimes times = layer->time(BenchOp::kAttend, kSamples);
  EXPECT_TRUE(equal(layer->attended(true)));
  EXPECT_GE(times.calls, 20);
  EXPECT_EQ(times.calls % times.buffers, 0);
  EXPECT_GT(times.clock_mhz, 100);
  for (const double seconds : times.seconds) EXPECT_GT(seconds, 0);
}

constexpr BenchShape kBatch{
    .q_heads = 4, .kv_heads = 2, .head_dim = 64, .sequences = 3, .tokens = 700, .queries = 1};
constexpr BenchShape kQueries{
    .q_heads = 2, .kv_heads = 2, .head_dim = 128, .sequences = 1, .tokens = 319, .queries = 4};

TEST_F(BenchCuda, CountsAndAttendsAsTheReference) {
  for (const char* scheme : {"fp:f16", "int:k4v4", "int:k3v2,kaxis=channel,g32", "kivi:k2v2",
                             "ggml:q4_0", "fp8:e4m3,scale=token"})
    for (const BenchShape& shape : {kBatch, kQueries}) expect_as_the_reference(scheme, shape);
}

// Keys before rotation, bytes that follow from the data.
TEST_F(BenchCuda, CountsOutliersAsTheReference) {
  expect_as_the_reference("kvquant:nuq3,o0.01,s5,cb=#00000003", kBatch);
}

TEST_F(BenchCuda, OperationsLeaveTheCachesAsTheyWere) {
  const BenchShape shape{
      .q_heads = 4, .kv_heads = 2, .head_dim = 64, .sequences = 2, .tokens = 500, .queries = 1};
  const auto layer =
      gpu::make_layer_bench(Descriptor::parse("kivi:k2v4"), {}, shape, inputs_of(shape));
  const std::vector<float> first = layer->attended(false);
  ASSERT_TRUE(layer->has(BenchOp::kSeal));
  for (int op = 0; op < kBenchOps; ++op) {
    const BenchTimes times = layer->time(static_cast<BenchOp>(op), kSamples);
    ASSERT_EQ(times.seconds.size(), size_t{kSamples});
    for (const double seconds : times.seconds) EXPECT_GT(seconds, 0);
    const std::vector<float> now = layer->attended(false);
    EXPECT_EQ(std::memcmp(now.data(), first.data(), first.size() * sizeof(float)), 0) << op;
  }
}

TEST_F(BenchCuda, MemoryRatesArePlausible) {
  const gpu::MemoryRates rates = gpu::memory_rates(kSamples);
  ASSERT_EQ(rates.read.size(), size_t{kSamples});
  for (const double rate : rates.read) EXPECT_GT(rate, 1e10);
  for (const double rate : rates.copy) EXPECT_GT(rate, 1e10);
  EXPECT_GT(rates.bytes, 1 << 20);
}

TEST_F(BenchCuda, TheVerbMeasures) {
  const test::Outcome outcome =
      test::kvx_run({"bench", "--scheme", "kivi2", "--heads", "4/2", "--dim", "64", "--tokens",
                     "300", "--what", "attend,step", "--json", "-", "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto document = bench::parse_document(bench::Json::parse(outcome.out), "output");
  EXPECT_EQ(document.records.size(), 2u);
}

}  // namespace
}  // namespace kvx
