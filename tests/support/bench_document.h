// Benchmarks by hand, as reports/schema/bench.md describes them.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/record.h"

namespace kvx::test {

inline bench::Spread spread(double median, double share = 0.01) {
  return {
      .median = median, .p10 = median * (1 - share), .p90 = median * (1 + share), .samples = 30};
}

// Reads 2 TB/s, copies 1 TB/s.
inline bench::Session bench_session(const std::string& source = "kvx",
                                    const std::string& device = "A device") {
  return {.source = source,
          .backend = "cuda",
          .device = device,
          .read = spread(2e12),
          .copy = spread(1e12),
          .made = {{"command", {"kvx", "bench", "--scheme", "int:k4v4"}}},
          .absent = {}};
}

inline constexpr BenchShape kBenchShape{
    .q_heads = 32, .kv_heads = 8, .head_dim = 128, .sequences = 8, .tokens = 32768, .queries = 1};

inline bench::Record bench_record(const std::string& name, BenchOp op, double seconds,
                                  int64_t bytes, double bits = 4.5) {
  bench::Record record;
  record.op = op;
  record.name = name;
  record.arithmetic = "ieee";
  record.shape = kBenchShape;
  record.length = kBenchShape.tokens + 1;
  record.bytes = bytes;
  record.bits = bits;
  record.seconds = spread(seconds);
  record.calls = 24;
  record.buffers = 3;
  record.cold = true;
  record.clock_mhz = 1755;
  return record;
}

}  // namespace kvx::test
