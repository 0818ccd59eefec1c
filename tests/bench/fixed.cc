// Attention in the arithmetic `fixed` of one KV head, plain and vectorised, one thread: G query
// heads, 2-bit codes, K per channel (g128) or per token, V per token, head dim 128. Counter: codes
// of K and V times query heads a second. Compare X/avx512 and X/avx2 with X/plain.
#include "sim/num/fixed.h"

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "sim/num/isa.h"
#include "tests/support/fixed_random.h"

namespace {

using kvx::num::Isa;
using kvx::num::fixed::Along;

struct Version {
  const char* name;
  kvx::test::FixedAttend attend;
  Isa isa;
};
constexpr Version kVersions[] = {{"plain", &kvx::num::fixed::plain::attend, Isa::kAvx2},
                                 {"avx2", &kvx::num::fixed::attend, Isa::kAvx2},
                                 {"avx512", &kvx::num::fixed::attend, Isa::kAvx512}};

void attend(benchmark::State& state, const Version& version, Along along, int64_t rows, int heads) {
  constexpr int kDim = 128;
  kvx::test::FixedDraw draw(1);
  kvx::test::FixedCase c = kvx::test::fixed_random_case(
      draw, {kDim, rows, 2, 2, along, 128, kDim, 0, kvx::test::FixedRange::kOutliers});
  const std::vector<float> q = [&] {
    std::vector<float> all;
    for (int h = 0; h < heads; ++h)
      for (int j = 0; j < kDim; ++j) all.push_back(draw.normal());
    return all;
  }();
  std::vector<float> out(q.size());
  const kvx::num::fixed::RowRead sealed{0, rows};
  std::vector<kvx::num::fixed::Query> queries;
  for (int h = 0; h < heads; ++h)
    queries.push_back({q.data() + h * kDim, {&sealed, 1}, {&sealed, 1}, out.data() + h * kDim});
  kvx::num::set_active_isa(version.isa);
  for (auto _ : state) {
    version.attend(c.head(), queries);
    benchmark::DoNotOptimize(out.data());
  }
  state.counters["codes/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * 2.0 * kDim * static_cast<double>(rows) * heads,
      benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Along along : {Along::kTokens, Along::kChannels}) {
    for (const int64_t rows : {1024, 16384}) {
      for (const int heads : {1, 4, 8}) {
        for (const Version& version : kVersions) {
          if (version.isa == Isa::kAvx512 && kvx::num::machine_isa() != Isa::kAvx512) continue;
          const std::string name = std::string(along == Along::kTokens ? "channel" : "token") +
                                   "/T" + std::to_string(rows) + "/G" + std::to_string(heads) +
                                   "/" + version.name;
          benchmark::RegisterBenchmark(name.c_str(), attend, version, along, rows, heads)
              ->UseRealTime()
              ->Unit(benchmark::kMillisecond);
        }
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
}
