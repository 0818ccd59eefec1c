// Encoding (append) and decoding (read) of every scheme against memcpy in the same run: 2048 tokens
// of 8 heads of 128, K and V. Counters: GB/s of binary32 values in (encode) or out (decode).
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "tests/support/noise.h"

namespace {

constexpr int64_t kTokens = 2048;
constexpr int kHeads = 8, kDim = 128;
constexpr int64_t kFloats = kTokens * kHeads * kDim;

struct Values {
  std::vector<float> k = kvx::test::noise(kFloats, 1), v = kvx::test::noise(kFloats, 2);
  kvx::ConstRows k_rows() const { return kvx::dense_rows(k.data(), kTokens, kHeads, kDim); }
  kvx::ConstRows v_rows() const { return kvx::dense_rows(v.data(), kTokens, kHeads, kDim); }
};

void count_bytes(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * 2 * kFloats * static_cast<int64_t>(sizeof(float)));
}

void copy(benchmark::State& state) {
  const Values in;
  Values out;
  for (auto _ : state) {
    std::memcpy(out.k.data(), in.k.data(), kFloats * sizeof(float));
    std::memcpy(out.v.data(), in.v.data(), kFloats * sizeof(float));
    benchmark::ClobberMemory();
  }
  count_bytes(state);
}

void encode(benchmark::State& state, const std::string& text) {
  const Values in;
  const auto cache =
      kvx::ref::make_cache(kvx::Descriptor::parse(text), {.shape = {0, kHeads, kDim}});
  for (auto _ : state) {
    const kvx::Span span{.seq = cache->open(), .first = 0, .count = kTokens};
    cache->append(in.k_rows(), in.v_rows(), {&span, 1});
    cache->close(span.seq);
  }
  count_bytes(state);
}

void decode(benchmark::State& state, const std::string& text) {
  const Values in;
  Values out;
  const auto cache =
      kvx::ref::make_cache(kvx::Descriptor::parse(text), {.shape = {0, kHeads, kDim}});
  const kvx::Span span{.seq = cache->open(), .first = 0, .count = kTokens};
  cache->append(in.k_rows(), in.v_rows(), {&span, 1});
  for (auto _ : state) {
    for (const kvx::Side side : {kvx::Side::kK, kvx::Side::kV}) {
      std::vector<float>& to = side == kvx::Side::kK ? out.k : out.v;
      const kvx::Rows rows = kvx::dense_rows(to.data(), kTokens, kHeads, kDim);
      for (const kvx::RowRange& range : cache->held(span.seq, side))
        cache->read(span.seq, side, range, rows.slice(range.first, range.count));
    }
    benchmark::ClobberMemory();
  }
  count_bytes(state);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("memcpy", copy)->Unit(benchmark::kMillisecond);
  for (const char* text : {"fp:f32", "fp:f16", "fp:bf16", "int:k8v8", "int:k4v4", "int:k4v4,sym",
                           "int:k4v4,kaxis=channel", "kivi:k4v4", "kivi:k2v2", "fp8:e4m3",
                           "fp8:e4m3,scale=token", "ggml:q8_0", "ggml:q5_1", "ggml:q4_0"}) {
    benchmark::RegisterBenchmark((std::string("encode/") + text).c_str(), encode, text)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((std::string("decode/") + text).c_str(), decode, text)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
}
