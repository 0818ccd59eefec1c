// Causal attention of the engine, in the canonical order, against Eigen in the same run: the heads
// of SmolLM2-135M (9/3 of 64) and of Qwen2.5-0.5B (14/2 of 64), one sequence. Counters: GFLOP/s of
// the products below the diagonal. Compare X/canonical with X/eigen.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <Eigen/Core>
#include <vector>

#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "sim/model/engine_attention.h"
#include "tests/support/noise.h"

namespace {

using kvx::ConstRows;
using kvx::dense_rows;

struct Shape {
  const char* name;
  int heads, kv_heads, dim;
};
constexpr Shape kShapes[] = {{"smollm2", 9, 3, 64}, {"qwen2", 14, 2, 64}};

struct Input {
  std::vector<float> q, k, v, out;
  Input(const Shape& s, int64_t tokens)
      : q(kvx::test::noise(tokens * s.heads * s.dim, 1)),
        k(kvx::test::noise(tokens * s.kv_heads * s.dim, 2)),
        v(kvx::test::noise(tokens * s.kv_heads * s.dim, 3)),
        out(q.size()) {}
};

void count_flops(benchmark::State& state, const Shape& s, int64_t tokens) {
  const double pairs = static_cast<double>(tokens) * static_cast<double>(tokens + 1) / 2;
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 4e-9 * pairs * s.heads * s.dim,
                         benchmark::Counter::kIsRate);
}

// As in a forward pass: reads of the cache and packing of the keys are inside the timed region.
void canonical(benchmark::State& state, const Shape& s, int64_t tokens, int threads) {
  Input in(s, tokens);
  const ConstRows q = dense_rows<const float>(in.q.data(), tokens, s.heads, s.dim);
  const ConstRows k = dense_rows<const float>(in.k.data(), tokens, s.kv_heads, s.dim);
  const ConstRows v = dense_rows<const float>(in.v.data(), tokens, s.kv_heads, s.dim);
  const auto cache =
      kvx::ref::make_cache(kvx::Descriptor::parse("fp:f32"), {.shape = {0, s.kv_heads, s.dim}});
  const kvx::Span span{.seq = cache->open(), .first = 0, .count = tokens};
  cache->append(k, v, {&span, 1});
  const kvx::model::PassChunk chunk{.span = span};
  kvx::model::AttentionPass pass(kvx::model::CacheMode::kStreamed, kvx::NonFinite::kRefuse,
                                 threads);
  for (auto _ : state) {
    pass.run(*cache, {&chunk, 1}, q, k, v, dense_rows(in.out.data(), tokens, s.heads, s.dim));
    benchmark::DoNotOptimize(in.out.data());
  }
  count_flops(state, s, tokens);
}

// Blocks of 128 queries against the keys up to their own: two matrix products and a softmax of
// vectorised exponentials between them.
void eigen(benchmark::State& state, const Shape& s, int64_t tokens, int threads) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Strided = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
  constexpr int64_t kBlock = 128;
  Input in(s, tokens);
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  Eigen::setNbThreads(1);
  const int64_t blocks = (tokens + kBlock - 1) / kBlock;
  for (auto _ : state) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < blocks * s.heads; ++task) {
      const int64_t first = (blocks - 1 - task / s.heads) * kBlock;
      const int64_t head = task % s.heads, kv_head = head / (s.heads / s.kv_heads);
      const int64_t count = std::min(kBlock, tokens - first), rows = first + count;
      const Eigen::OuterStride<> q_stride(s.heads * s.dim), kv_stride(s.kv_heads * s.dim);
      const Strided q(in.q.data() + (first * s.heads + head) * s.dim, count, s.dim, q_stride);
      const Strided k(in.k.data() + kv_head * s.dim, rows, s.dim, kv_stride);
      const Strided v(in.v.data() + kv_head * s.dim, rows, s.dim, kv_stride);
      Matrix p = q * k.transpose();
      for (int64_t i = 0; i < count; ++i) {
        auto seen = p.row(i).head(first + i + 1).array();
        const float top = seen.maxCoeff() * scale;
        seen = (seen * scale - top).exp();
        seen /= seen.sum();
        p.row(i).tail(rows - first - i - 1).setZero();
      }
      Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(in.out.data() + (first * s.heads + head) * s.dim,
                                                  count, s.dim, q_stride)
          .noalias() = p * v;
    }
    benchmark::DoNotOptimize(in.out.data());
  }
  count_flops(state, s, tokens);
}

}  // namespace

int main(int argc, char** argv) {
  for (const int64_t tokens : {512, 2048}) {
    for (const int threads : {1, 2}) {
      for (const Shape& shape : kShapes) {
        const std::string stem = std::string(shape.name) + "/T" + std::to_string(tokens) + "/t" +
                                 std::to_string(threads);
        benchmark::RegisterBenchmark((stem + "/canonical").c_str(), canonical, shape, tokens,
                                     threads)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((stem + "/eigen").c_str(), eigen, shape, tokens, threads)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
}
