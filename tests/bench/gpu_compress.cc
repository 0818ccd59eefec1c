// Sealing of a long prompt on the device against a copy of device memory in the same run (bytes
// read and written, both): 32768 tokens of 8 heads in binary16, K and V, through the kernels of
// each scheme, looked through for values that are not finite. Inputs and caches rotate through more
// than the second-level cache. Usage: bench_gpu_compress
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/common/memory.h"
#include "gpu/registry.h"
#include "sim/num/formats.h"
#include "tests/bench/gpu_timing.h"
#include "tests/support/artifacts.h"
#include "tests/support/noise.h"

namespace kvx::gpu {
namespace {

constexpr int32_t kTokens = 32768;
constexpr int kHeads = 8;
constexpr int kSets = 3;

// One side of a cache with room for the prompt in pages 0, 1, ...
struct CacheSide {
  DeviceArray<int32_t> pages;
  DeviceArray<std::byte> codes, scale, zero;
  DeviceArray<uint8_t> marks;
  DeviceArray<uint16_t> outliers, ring;
  SideView view;

  CacheSide(const SideFormat& format, const CacheShape& shape) {
    const int count = (kTokens + shape.page_tokens - 1) / shape.page_tokens;
    std::vector<int32_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    pages = DeviceArray<int32_t>(count);
    pages.upload(numbers);
    const int64_t heads = int64_t{count} * shape.kv_heads;
    codes = DeviceArray<std::byte>(heads * shape.page_tokens * format.row_bytes(shape.head_dim));
    scale = DeviceArray<std::byte>(heads * page_groups(format, shape) * format.scale_bytes);
    zero = DeviceArray<std::byte>(heads * page_groups(format, shape) * format.zero_bytes);
    const int64_t rows = heads * shape.page_tokens;
    marks = DeviceArray<uint8_t>(rows * format.mark_bytes(shape.head_dim));
    outliers = DeviceArray<uint16_t>(rows * format.outlier_bytes(shape.head_dim) / 2);
    ring =
        DeviceArray<uint16_t>(int64_t{shape.kv_heads} * format.rule.ring_rows() * shape.head_dim);
    view = {.format = format,
            .shape = shape,
            .codes = codes.get(),
            .scale = scale.get(),
            .zero = zero.get(),
            .marks = marks.get(),
            .outliers = outliers.get(),
            .ring = ring.get(),
            .pages = pages.get(),
            .pages_per_slot = count};
  }
  // Written by sealing; of outliers, which are few, none.
  int64_t bytes() const { return codes.bytes() + scale.bytes() + zero.bytes() + marks.bytes(); }
};

// What kvquant asks for: evenly spaced levels, and ranges that one uniform value in a hundred is
// outside of.
Artifacts artifacts_of(int64_t channels) {
  return [channels](std::string_view hash) {
    auto artifact = std::make_shared<test::MemoryArtifact>();
    const int codes = 1 << (hash.back() - '0');
    std::vector<float> codebook;
    for (int i = 0; i < codes; ++i)
      codebook.push_back((2.0f * static_cast<float>(i) + 1.0f) / static_cast<float>(codes) - 1.0f);
    const std::vector<uint16_t> lo(static_cast<size_t>(channels), num::f16_encode(-0.99f));
    const std::vector<uint16_t> hi(static_cast<size_t>(channels), num::f16_encode(0.99f));
    for (const char* side : {"layers.0.k.", "layers.0.v."}) {
      artifact->set(side + std::string("codebook"), "F32", {codes}, codebook);
      artifact->set(side + std::string("lo"), "F16", {channels}, lo);
      artifact->set(side + std::string("hi"), "F16", {channels}, hi);
    }
    return artifact;
  };
}

void run(const std::string& text, int dim, const DeviceArray<uint16_t>& values, double copy) {
  CacheConfig config;
  config.shape = {.layer = 0, .kv_heads = kHeads, .head_dim = dim};
  config.windows = Windows::kNone;
  config.artifacts = artifacts_of(int64_t{kHeads} * dim);
  const std::unique_ptr<SchemeKernels> kernels = make_kernels(Descriptor::parse(text), config);
  CacheShape shape{kHeads, dim, kSegment};
  for (const Side side : {Side::kK, Side::kV})
    if (kernels->format(side).along_tokens)
      shape.page_tokens = std::lcm(shape.page_tokens, kernels->format(side).group);
  std::vector<CacheSide> sides;
  for (int i = 0; i < kSets; ++i)
    for (const Side side : {Side::kK, Side::kV}) sides.emplace_back(kernels->format(side), shape);

  DeviceArray<PassSpan> spans(1);
  spans.upload(std::vector<PassSpan>{{.count = kTokens}});
  DeviceArray<NonFiniteKey> key(1);
  key.upload(std::vector<NonFiniteKey>{kAllFinite});
  const int64_t count = int64_t{kTokens} * kHeads * dim;
  const double s = seconds([&](int i) {
    const size_t set = static_cast<size_t>(i) % kSets;
    AppendArgs args;
    args.k = {values.get() + (2 * set) * static_cast<size_t>(count), ScalarType::kF16};
    args.v = {values.get() + (2 * set + 1) * static_cast<size_t>(count), ScalarType::kF16};
    args.pass = {spans.get(), 1, kTokens, kTokens, kTokens};
    args.view[0] = sides[2 * set].view;
    args.view[1] = sides[2 * set + 1].view;
    args.non_finite = key.get();
    kernels->append(args, nullptr);
  });
  const auto bytes = static_cast<double>(2 * count * 2 + sides[0].bytes() + sides[1].bytes());
  std::printf("%-46s %4d %9.1f %8.0f %7.1f%%\n", text.c_str(), dim, s * 1e6, bytes / s * 1e-9,
              100.0 * bytes / s / copy);
}

void run_all() {
  const double copy = copy_bytes_per_second();
  std::printf("copy %.0f GB/s\n%-46s %4s %9s %8s %8s\n", copy * 1e-9, "scheme", "d", "us", "GB/s",
              "of copy");
  // A block of values over and over.
  constexpr int64_t kBlock = int64_t{1} << 20, kMost = int64_t{kTokens} * kHeads * 128 * 2 * kSets;
  std::vector<uint16_t> block;
  for (const float x : test::noise(kBlock, 1)) block.push_back(num::f16_encode(x));
  DeviceArray<uint16_t> values(kMost);
  for (int64_t at = 0; at < kMost; at += kBlock) values.upload(block, at);
  for (const int dim : {128, 64}) {
    for (const char* text : {"fp:f16",
                             "fp:f32",
                             "int:k8v8",
                             "int:k4v4",
                             "int:k2v2",
                             "int:k4v4,sym",
                             "int:k4v4,g32",
                             "int:k3v3",
                             "int:k4v4,kaxis=channel,vaxis=channel",
                             "int:k4v4,kaxis=channel,vaxis=channel,g128",
                             "kivi:k2v2",
                             "kivi:k4v4",
                             "kivi:k2v2,g64",
                             "fp8:e4m3",
                             "fp8:e5m2",
                             "fp8:e4m3,scale=token",
                             "ggml:q8_0",
                             "ggml:q5_1",
                             "ggml:q5_0",
                             "ggml:q4_1",
                             "ggml:q4_0",
                             "kvquant:nuq4,cb=#00000004",
                             "kvquant:nuq4,o0.01,cb=#00000004",
                             "kvquant:nuq3,o0.01,cb=#00000003",
                             "kvquant:nuq2,o0.01,cb=#00000002",
                             "kvquant:nuq4,o0.01,profile=paper,cb=#00000004",
                             "kvquant:nuq4,o0.01,vaxis=channel,cb=#00000004",
                             "kvquant:nuq4,o0.01,kaxis=token,cb=#00000004",
                             "kvquant:int4,cb=#00000004"}) {
      run(text, dim, values, copy);
    }
  }
}

}  // namespace
}  // namespace kvx::gpu

int main() {
  if (const std::string why = kvx::gpu::unavailable(); !why.empty()) {
    std::printf("%s\n", why.c_str());
    return 0;
  }
  kvx::gpu::run_all();
}
