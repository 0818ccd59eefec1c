// Fused attention of one layer, a query token a sequence: microseconds of a call in every launch
// form (the chosen one with a star) and the share of the device's read bandwidth at which codes,
// scales and zeros were read. Calls follow each other in a CUDA graph over caches that together are
// far larger than L2. Usage: bench_gpu_fused [PART], of a case's name.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "gpu/common/stream.h"
#include "gpu/fused/attend.h"
#include "gpu/registry.h"
#include "tests/bench/gpu_timing.h"

namespace kvx::gpu {
namespace {

constexpr int64_t kRotated = int64_t{400} << 20;  // bytes of all caches, at least
constexpr int kPageTokens = 256, kDim = 128;

struct Shape {
  const char* name;
  int q_heads, kv_heads, sequences, tokens;
};
constexpr Shape kShapes[] = {
    {"32/8 B8 T32k", 32, 8, 8, 32768},   {"32/8 B1 T128k", 32, 8, 1, 131072},
    {"32/32 B8 T32k", 32, 32, 8, 32768}, {"32/32 B1 T128k", 32, 32, 1, 131072},
    {"32/8 B1 T4k", 32, 8, 1, 4096},     {"32/32 B1 T4k", 32, 32, 1, 4096}};

struct Format {
  const char* name;
  int bits, k_group, v_group;
  bool k_along_tokens;
};
constexpr Format kFormats[] = {
    {"4 bits g128", 4, 128, 128, true},        {"3 bits g128", 3, 128, 128, true},
    {"2 bits g128", 2, 128, 128, true},        {"2 bits g32", 2, 32, 32, true},
    {"4 bits g32", 4, 32, 32, true},           {"8 bits g128", 8, 128, 128, true},
    {"4 bits, K by token", 4, 128, 128, false}};

__global__ void read_all(const uint4* from, int64_t count, uint32_t* sink) {
  uint32_t x = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint4 w = from[i];
    x ^= w.x ^ w.y ^ w.z ^ w.w;
  }
  if (x == 0x12345679u) *sink = x;
}

double read_bytes_per_second() {
  constexpr int64_t kBytes = int64_t{2} << 30;
  const DeviceArray<std::byte> from(kBytes);
  const DeviceArray<uint32_t> sink(1);
  check(cudaMemset(from.get(), 1, kBytes), "fill");
  const double s = seconds([&](int) {
    read_all<<<132 * 16, 512>>>(reinterpret_cast<const uint4*>(from.get()), kBytes / 16,
                                sink.get());
  });
  return static_cast<double>(kBytes) / s;
}

// One side of a layer, all sequences.
struct Side {
  SideFormat format;
  DeviceArray<std::byte> codes, scale, zero;
};

Side make_side(const SideFormat& format, const CacheShape& shape, int64_t pages) {
  Side side{format, {}, {}, {}};
  const int64_t heads = pages * shape.kv_heads;
  side.codes = DeviceArray<std::byte>(heads * shape.page_tokens * format.row_bytes(kDim));
  const int64_t meta = heads * page_groups(format, shape) * 2;
  side.scale = DeviceArray<std::byte>(meta);
  side.zero = DeviceArray<std::byte>(meta);
  std::vector<std::byte> noise(1 << 22);
  std::mt19937 random(7);
  for (std::byte& b : noise) b = static_cast<std::byte>(random());
  for (int64_t at = 0; at < side.codes.bytes(); at += int64_t{1} << 22)
    side.codes.upload(
        {noise.data(), static_cast<size_t>(std::min<int64_t>(1 << 22, side.codes.bytes() - at))},
        at);
  check(cudaMemset(side.scale.get(), 0x2C, static_cast<size_t>(meta)), "scales");  // 0.065
  check(cudaMemset(side.zero.get(), 0xB4, static_cast<size_t>(meta)), "zeros");    // -0.29
  return side;
}

// Median microseconds of a call.
double microseconds(fused::FusedForm form, const std::vector<AttendArgs>& calls) {
  const Stream stream;
  const int count = std::max<int>(20, static_cast<int>(calls.size()));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < count; ++i)
    fused::attend(form, {}, calls[static_cast<size_t>(i) % calls.size()], stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "graph");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> samples;
  for (int i = 0; i < 33; ++i) {
    check(cudaEventRecord(begin, stream), "event");
    check(cudaGraphLaunch(exec, stream), "graph");
    check(cudaEventRecord(end, stream), "event");
    check(cudaEventSynchronize(end), "fused attention");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    if (i > 2) samples.push_back(ms);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(samples.begin(), samples.begin() + 15, samples.end());
  return 1e3 * static_cast<double>(samples[15]) / count;
}

void measure(const Shape& s, const Format& f, double rate) {
  const CacheShape shape{s.kv_heads, kDim, kPageTokens};
  const SideFormat k{.bits = f.bits,
                     .group = f.k_group,
                     .along_tokens = f.k_along_tokens,
                     .scale_bytes = 2,
                     .zero_bytes = 2,
                     .rule = {.unit = f.k_along_tokens ? f.k_group : 1}};
  const SideFormat v{.bits = f.bits, .group = f.v_group, .scale_bytes = 2, .zero_bytes = 2};
  const int64_t pages = int64_t{s.sequences} * (s.tokens / kPageTokens);
  const auto bytes_of = [&](const SideFormat& format) {
    return pages * s.kv_heads *
           (kPageTokens * format.row_bytes(kDim) + 4 * page_groups(format, shape));
  };
  const int64_t bytes = bytes_of(k) + bytes_of(v);
  const int64_t caches = std::clamp<int64_t>(kRotated / bytes, 1, 256) + 1;
  std::vector<int32_t> numbers(static_cast<size_t>(pages));
  for (int64_t i = 0; i < pages; ++i) numbers[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  std::vector<PassSpan> spans;
  for (int i = 0; i < s.sequences; ++i)
    spans.push_back({.first = s.tokens - 1, .slot = i, .count = 1, .row = i});
  const int64_t width = int64_t{s.sequences} * s.q_heads * kDim;
  std::vector<float> q(static_cast<size_t>(width));
  std::mt19937 random(9);
  for (float& x : q) x = static_cast<float>(random()) * 0x1p-30f - 2.0f;
  DeviceArray<int32_t> device_pages(pages);
  DeviceArray<PassSpan> device_spans(s.sequences);
  DeviceArray<float> device_q(width), out(width);
  device_pages.upload(numbers);
  device_spans.upload(spans);
  device_q.upload(q);
  AttendArgs args;
  args.q = device_q.get(), args.out = out.get(), args.q_heads = s.q_heads;
  args.pass = {.spans = device_spans.get(),
               .span_count = s.sequences,
               .rows = s.sequences,
               .max_count = 1,
               .max_length = s.tokens};
  using fused::FusedForm;
  constexpr FusedForm kForms[] = {FusedForm::kLong, FusedForm::kWhole, FusedForm::kShort};
  int64_t floats = 1;
  for (const FusedForm form : kForms)
    floats = std::max(floats, fused::scratch_floats(form, args.pass, shape, s.q_heads, v));
  const DeviceArray<float> scratch(floats);
  args.scratch = scratch.get();
  std::vector<Side> sides;
  std::vector<AttendArgs> calls;
  for (int64_t i = 0; i < caches; ++i) {
    for (int side = 0; side < 2; ++side) {
      sides.push_back(make_side(side == 0 ? k : v, shape, pages));
      const Side& memory = sides.back();
      SideView& view = args.view[side];
      view.format = memory.format, view.shape = shape;
      view.codes = memory.codes.get();
      view.scale = memory.scale.get(), view.zero = memory.zero.get();
      view.pages = device_pages.get(), view.pages_per_slot = s.tokens / kPageTokens;
    }
    calls.push_back(args);
  }
  const double floor = 1e6 * static_cast<double>(bytes) / rate;
  std::printf("%-16s %-20s %7.2f us to read", s.name, f.name, floor);
  constexpr const char* kNames[] = {"long", "whole", "short"};
  for (int i = 0; i < 3; ++i) {
    const double us = microseconds(kForms[i], calls);
    const bool chosen = kForms[i] == fused::fused_form(args.pass, shape, s.q_heads);
    std::printf(" | %s%s %8.2f us %5.3f", kNames[i], chosen ? "*" : "", us, floor / us);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace kvx::gpu

int main(int argc, char** argv) {
  using namespace kvx::gpu;
  if (const std::string why = unavailable(); !why.empty()) {
    std::printf("%s\n", why.c_str());
    return 0;
  }
  const std::string part = argc > 1 ? argv[1] : "";
  const double rate = read_bytes_per_second();
  std::printf("%s, reads at %.2f TB/s\n", device_report().c_str(), rate * 1e-12);
  for (const Shape& shape : kShapes)
    for (const Format& format : kFormats)
      if ((std::string(shape.name) + " " + format.name).find(part) != std::string::npos)
        measure(shape, format, rate);
}
