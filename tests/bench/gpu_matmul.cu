// Matrix products on the device against what the device can do, measured in the same run: fused
// multiply-adds from registers alone, and a copy of device memory (bytes read and written). Weights
// rotate through more than the second-level cache. Usage: bench_gpu_matmul [tiles]; `tiles` adds
// every kernel for many rows beside the one that is chosen.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpu/common/check.h"
#include "gpu/engine/matmul.h"
#include "gpu/engine/matmul_kernels.h"
#include "gpu/registry.h"
#include "tests/bench/gpu_timing.h"
#include "tests/support/noise.h"

namespace kvx::gpu {
namespace {

struct Shape {
  WeightType type;
  int64_t m, n, k;
};

constexpr int kFmaChains = 16, kFmaSteps = 4096;

__global__ void fma_kernel(float a, float b, float* out) {
  float c[kFmaChains];
#pragma unroll
  for (int i = 0; i < kFmaChains; ++i) c[i] = static_cast<float>(threadIdx.x + i);
#pragma unroll 8
  for (int s = 0; s < kFmaSteps; ++s)
#pragma unroll
    for (int i = 0; i < kFmaChains; ++i) c[i] = __fmaf_rn(c[i], a, b);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kFmaChains; ++i) sum = __fadd_rn(sum, c[i]);
  if (sum == 1.2345f) *out = sum;
}

double peak_flops() {
  constexpr int kBlocks = 132 * 16, kThreads = 256;
  DeviceArray<float> out(1);
  const double s =
      seconds([&](int) { fma_kernel<<<kBlocks, kThreads>>>(0.999f, 0.001f, out.get()); });
  check_launch("fma_kernel");
  return 2.0 * kBlocks * kThreads * kFmaChains * kFmaSteps / s;
}

class Bench {
 public:
  Bench() : peak_(peak_flops()), copy_(copy_bytes_per_second()) {
    std::printf("fma from registers %.1f TFLOP/s, copy %.0f GB/s\n", peak_ * 1e-12, copy_ * 1e-9);
    std::printf("%-5s %6s %7s %6s  %-14s %10s %9s %7s %8s %7s\n", "type", "m", "n", "k", "kernel",
                "us", "TFLOP/s", "of fma", "GB/s", "of copy");
  }

  void run(const Shape& shape, bool tiles) {
    const int64_t bytes = DeviceWeights::bytes(shape.n, shape.k, shape.type);
    const int64_t copies = std::clamp<int64_t>((int64_t{160} << 20) / bytes, 2, 64);
    std::vector<DeviceWeights> weights;
    weights.push_back(DeviceWeights(shape.n, shape.k, shape.type));
    for (int64_t row = 0; row < shape.n; row += 1024) {
      const int64_t count = std::min<int64_t>(1024, shape.n - row);
      fill_rows(shape, count);
      weights[0].set_rows(row, count, rows_.data());
    }
    for (int64_t i = 1; i < copies; ++i) {
      weights.push_back(DeviceWeights(shape.n, shape.k, shape.type));
      check(cudaMemcpy(const_cast<std::byte*>(weights.back().data()), weights[0].data(),
                       static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice),
            "copy of weights");
    }
    const int64_t x_stride = ceil_div(shape.k, 4) * 4;
    DeviceArray<float> x(shape.m * x_stride), y(shape.m * shape.n);
    x.upload(test::noise(shape.m * x_stride, 1));
    DeviceArray<float> scratch(shape.m * shape.n * ceil_div(shape.k, kDotBlock));
    MatmulArgs args;
    args.x = x.get(), args.x_stride = x_stride;
    args.y = y.get(), args.y_stride = shape.n;
    args.m = shape.m;
    args.scratch = scratch.get();
    const auto rotate = [&](int i) { return &weights[static_cast<size_t>(i) % weights.size()]; };
    print(shape, "matmul", seconds([&](int i) {
            args.w = rotate(i);
            matmul(args, nullptr);
          }));
    if (!tiles) return;
    const auto product = [&](int i) {
      return Product{args.x,
                     x_stride,
                     reinterpret_cast<const uint4*>(rotate(i)->data()),
                     args.y,
                     shape.n,
                     nullptr,
                     nullptr,
                     args.scratch,
                     static_cast<int>(shape.m),
                     static_cast<int>(shape.n),
                     static_cast<int>(shape.k)};
    };
    if (shape.m <= 32)
      print(shape, "rows",
            seconds([&](int i) { launch_few_rows(product(i), shape.type, 132, nullptr); }));
    if (shape.m < 8) return;
    constexpr const char* kNames[][2] = {{"16x128", "16x128 apart"},
                                         {"32x128", "32x128 apart"},
                                         {"64x64", "64x64 apart"},
                                         {"128x128", "128x128 apart"}};
    for (int size = 0; size < 4; ++size) {
      for (const bool apart : {false, true}) {
        if (apart && (shape.k <= kDotBlock || shape.m > 512)) continue;
        print(shape, kNames[size][apart], seconds([&](int i) {
                launch_tiles(product(i), shape.type, static_cast<TileSize>(size), apart, nullptr);
                if (apart) launch_combine(product(i), nullptr);
              }));
      }
    }
  }

 private:
  void fill_rows(const Shape& shape, int64_t count) {
    const std::vector<float> noise = test::noise(count * shape.k, 2);
    rows_.resize(static_cast<size_t>(count * shape.k * element_bytes(shape.type)));
    if (shape.type == WeightType::kF32) {
      std::copy_n(reinterpret_cast<const std::byte*>(noise.data()), rows_.size(), rows_.data());
      return;
    }
    // Numbers of [2, 4) and their negatives: a sign, a constant exponent and a random mantissa.
    auto* out = reinterpret_cast<uint16_t*>(rows_.data());
    for (size_t i = 0; i < noise.size(); ++i)
      out[i] = static_cast<uint16_t>(
          (noise[i] < 0.0f ? 0xC000u : 0x4000u) |
          static_cast<uint32_t>((noise[i] < 0.0f ? -noise[i] : noise[i]) * 127.0f));
  }

  void print(const Shape& shape, const char* kernel, double s) const {
    const double flops = 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                         static_cast<double>(shape.k);
    const double bytes =
        static_cast<double>(shape.n * shape.k * element_bytes(shape.type)) +
        4.0 * static_cast<double>(shape.m) * static_cast<double>(shape.k + shape.n);
    constexpr const char* kTypes[] = {"f32", "f16", "bf16"};
    std::printf("%-5s %6ld %7ld %6ld  %-14s %10.2f %9.2f %6.1f%% %8.0f %6.1f%%\n",
                kTypes[static_cast<int>(shape.type)], static_cast<long>(shape.m),
                static_cast<long>(shape.n), static_cast<long>(shape.k), kernel, s * 1e6,
                flops / s * 1e-12, 100.0 * flops / s / peak_, bytes / s * 1e-9,
                100.0 * bytes / s / copy_);
    std::fflush(stdout);
  }

  double peak_, copy_;
  std::vector<std::byte> rows_;
};

int main_of(bool tiles) {
  if (const std::string reason = unavailable(); !reason.empty()) {
    std::printf("%s\n", reason.c_str());
    return 1;
  }
  std::printf("%s\n", device_report().c_str());
  constexpr WeightType kF32 = WeightType::kF32, kF16 = WeightType::kF16, kBf16 = WeightType::kBf16;
  Bench bench;
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{4096, 4096}, {14336, 4096}, {4096, 14336}})
    for (const int64_t m : {1, 2, 4, 8, 16, 32, 64}) bench.run({kBf16, m, n, k}, tiles);
  for (const WeightType type : {kF32, kF16})
    for (const int64_t m : {1, 8, 32}) bench.run({type, m, 14336, 4096}, false);
  // SmolLM2-135M and Qwen2.5-0.5B.
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{576, 576},
                             {3072, 576},
                             {576, 1536},
                             {49152, 576},
                             {9728, 896},
                             {896, 4864},
                             {151936, 896}})
    for (const int64_t m : {1, 8, 32}) bench.run({kBf16, m, n, k}, tiles && m > 8);
  for (const WeightType type : {kBf16, kF16, kF32})
    for (const int64_t m : {512, 2048, 4096}) bench.run({type, m, 4096, 4096}, tiles);
  for (const auto& [n, k] :
       {std::pair<int64_t, int64_t>{576, 576}, {960, 576}, {3072, 576}, {576, 1536}, {49152, 576}})
    for (const int64_t m : {512, 2048}) bench.run({kBf16, m, n, k}, tiles);
  return 0;
}

}  // namespace
}  // namespace kvx::gpu

int main(int argc, char** argv) {
  return kvx::gpu::main_of(argc > 1 && std::string_view(argv[1]) == "tiles");
}
