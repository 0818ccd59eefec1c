// Matrix products in the canonical order against Eigen's sgemm in the same run: SmolLM2-135M's
// layer shapes, the same instruction set, 1 and 2 threads. Counters: GFLOP/s. Compare X/canonical
// with X/eigen.
#include "sim/num/gemm.h"

#include <benchmark/benchmark.h>
#include <omp.h>

#include <Eigen/Core>
#include <vector>

#include "tests/support/noise.h"

namespace {

using kvx::num::Gemm;
using kvx::num::PackedInput;
using kvx::num::PackedWeights;
using kvx::num::WeightType;

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {{"q_o", 576, 576},
                             {"k_v", 192, 576},
                             {"gate_up", 1536, 576},
                             {"down", 576, 1536},
                             {"head", 49152, 576}};

void count_flops(benchmark::State& state, int64_t m, const Shape& shape) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 2e-9 * static_cast<double>(m) *
                             static_cast<double>(shape.n) * static_cast<double>(shape.k),
                         benchmark::Counter::kIsRate);
}

// Packing of the input is inside the timed region, of the weights outside: as in a forward pass.
void canonical(benchmark::State& state, const Shape& shape, int64_t m, int threads) {
  const std::vector<float> x = kvx::test::noise(m * shape.k, 1);
  const std::vector<float> rows = kvx::test::noise(shape.n * shape.k, 2);
  PackedWeights w(shape.n, shape.k, WeightType::kF32);
  for (int64_t p = 0; p < w.panels(); ++p)
    w.set_panel(p, rows.data() + p * kvx::num::kPanel * shape.k);
  std::vector<float> y(static_cast<size_t>(m * shape.n));
  PackedInput input;
  for (auto _ : state) {
    input.reshape(m, shape.k);
    const Gemm gemm(input, w, y.data(), shape.n, threads);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int64_t t = 0; t < input.tiles(); ++t) input.set_tile(t, x.data(), shape.k);
#pragma omp for schedule(dynamic)
      for (int64_t t = 0; t < gemm.tasks(); ++t) gemm.run(t);
    }
    benchmark::DoNotOptimize(y.data());
  }
  count_flops(state, m, shape);
}

void eigen(benchmark::State& state, const Shape& shape, int64_t m, int threads) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const std::vector<float> x = kvx::test::noise(m * shape.k, 1);
  const std::vector<float> rows = kvx::test::noise(shape.n * shape.k, 2);
  const Eigen::Map<const Matrix> a(x.data(), m, shape.k);
  const Eigen::Map<const Matrix> w(rows.data(), shape.n, shape.k);
  Matrix y(m, shape.n);
  Eigen::setNbThreads(threads);
  for (auto _ : state) {
    y.noalias() = a * w.transpose();
    benchmark::DoNotOptimize(y.data());
  }
  count_flops(state, m, shape);
}

}  // namespace

int main(int argc, char** argv) {
  for (const int64_t m : {512, 2048}) {
    for (const int threads : {1, 2}) {
      for (const Shape& shape : kShapes) {
        const std::string stem =
            std::string(shape.name) + "/m" + std::to_string(m) + "/t" + std::to_string(threads);
        benchmark::RegisterBenchmark((stem + "/canonical").c_str(), canonical, shape, m, threads)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((stem + "/eigen").c_str(), eigen, shape, m, threads)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
}
