// Attention of one layer over a device cache: prompts in the form `walk`, single tokens in the form
// that is chosen. Counters: FLOP/s of the products that the queries see and their share of the
// device's binary32 peak; bytes/s of codes and metadata that single tokens must read.
#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <string>

#include "gpu/common/check.h"
#include "gpu/registry.h"
#include "tests/gpu/attend_case.h"

namespace {

using kvx::gpu::AttendForm;
using kvx::gpu::check;
using kvx::test::AttendCase;
using kvx::test::AttendSpec;

struct Shape {
  const char* name;
  int heads, kv_heads, dim;
};
constexpr Shape kShapes[] = {
    {"9/3x64", 9, 3, 64}, {"14/2x64", 14, 2, 64}, {"32/8x128", 32, 8, 128}};

double peak_flops() {
  int processors = 0, kilohertz = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0), "device");
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0), "device");
  return 2.0 * 128 * processors * 1e3 * kilohertz;
}

AttendSpec make_spec(const Shape& shape, bool four_bits) {
  AttendSpec spec;
  spec.q_heads = shape.heads, spec.kv_heads = shape.kv_heads, spec.dim = shape.dim;
  if (four_bits) {
    spec.codec = kvx::test::TestCodec::kScaled;
    spec.format[0] = kvx::test::scaled_format({128, 0, 1}, 4, 32, true);
    spec.format[1] = kvx::test::scaled_format({1, 128, 1}, 4, 32, false);
  } else {
    spec.format[0] = spec.format[1] = kvx::test::half_format({1, 0, 0});
  }
  return spec;
}

void measure(benchmark::State& state, const AttendSpec& spec, const AttendForm* form, double flops,
             double bytes) {
  const AttendCase c(spec, 1);
  const kvx::test::AttendOnDevice device = c.upload(form);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  const auto launch = [&] {
    if (form)
      attend_with(spec.codec, *form, device.args);
    else
      attend_with(spec.codec, device.args);
  };
  launch();
  constexpr int kRepeats = 5;
  for (auto _ : state) {
    check(cudaEventRecord(begin), "event");
    for (int i = 0; i < kRepeats; ++i) launch();
    check(cudaEventRecord(end), "event");
    check(cudaEventSynchronize(end), "attention");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    state.SetIterationTime(1e-3 * static_cast<double>(milliseconds) / kRepeats);
  }
  const auto rate = [&](double amount) {
    return benchmark::Counter(static_cast<double>(state.iterations()) * amount,
                              benchmark::Counter::kIsRate);
  };
  state.counters["FLOP/s"] = rate(flops);
  state.counters["of peak"] = rate(flops / peak_flops());
  if (bytes > 0) state.counters["B/s"] = rate(bytes);
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (const std::string why = kvx::gpu::unavailable(); !why.empty()) {
    std::printf("%s\n", why.c_str());
    return 0;
  }
  static const AttendForm kWalk = AttendForm::kWalk;
  for (const Shape& shape : kShapes)
    for (const bool four_bits : {false, true}) {
      const std::string codes = four_bits ? "/4 bits" : "/fp16";
      for (const int tokens : {512, 2048, 8192}) {
        AttendSpec spec = make_spec(shape, four_bits);
        spec.spans = {{0, tokens}};
        const double pairs = 0.5 * tokens * (tokens + 1.0);
        const double flops = 4.0 * pairs * shape.heads * shape.dim;
        benchmark::RegisterBenchmark(
            ("prompt/" + std::string(shape.name) + codes + "/" + std::to_string(tokens)).c_str(),
            [=](benchmark::State& state) { measure(state, spec, &kWalk, flops, 0); })
            ->UseManualTime()
            ->Iterations(4)
            ->Unit(benchmark::kMicrosecond);
      }
      for (const int sequences : {1, 8})
        for (const int length : {2048, 16384}) {
          if (sequences * length > 65536) continue;
          AttendSpec spec = make_spec(shape, four_bits);
          for (int i = 0; i < sequences; ++i) spec.spans.push_back({length - 1, 1});
          const double values = 2.0 * sequences * length * shape.kv_heads * shape.dim;
          const double flops =
              4.0 * sequences * length * static_cast<double>(shape.heads) * shape.dim;
          const double bytes = values * (four_bits ? 0.5 + 3.0 / 32 : 2.0);
          benchmark::RegisterBenchmark(
              ("token/" + std::string(shape.name) + codes + "/" + std::to_string(sequences) + "x" +
               std::to_string(length))
                  .c_str(),
              [=](benchmark::State& state) { measure(state, spec, nullptr, flops, bytes); })
              ->UseManualTime()
              ->Iterations(4)
              ->Unit(benchmark::kMicrosecond);
        }
    }
  benchmark::RunSpecifiedBenchmarks();
}
