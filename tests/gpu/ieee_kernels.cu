#include "gpu/common/ieee.cuh"
#include "gpu/common/memory.h"
#include "tests/gpu/ieee_kernels.h"

namespace kvx::test {
namespace {

using gpu::check;
using gpu::check_launch;
using gpu::DeviceArray;

constexpr uint32_t kChunk = 1u << 20;
constexpr uint32_t kChunks = 4096;
constexpr uint32_t kThreads = 256;

__device__ float apply(DeviceFunction function, uint32_t pattern) {
  const float x = __uint_as_float(pattern);
  float sin, cos;
  switch (function) {
    case DeviceFunction::kExp2:
      return gpu::exp2_ieee(x);
    case DeviceFunction::kExp:
      return gpu::exp_ieee(x);
    case DeviceFunction::kSilu:
      return gpu::silu_ieee(x);
    case DeviceFunction::kRsqrt:
      return gpu::rsqrt_ieee(x);
    default:
      gpu::sincos_phase(pattern, sin, cos);
      return function == DeviceFunction::kSin ? sin : cos;
  }
}

// Block c adds (2c + 1) times the sum of its chunk to the total.
__global__ void checksum_kernel(DeviceFunction function, unsigned long long* total) {
  unsigned long long sum = 0;
  for (uint32_t i = threadIdx.x; i < kChunk; i += kThreads) {
    const uint32_t pattern = blockIdx.x * kChunk + i;
    const float y = apply(function, pattern);
    const uint64_t b = gpu::is_nan(y) ? 0x7fffffffu : __float_as_uint(y);
    uint64_t x = ((uint64_t{pattern} + 1) * 0x9E3779B97F4A7C15u) ^ (b * 0xD6E8FEB86659FD93u);
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    sum += x ^ (x >> 29);
  }
  atomicAdd(total, sum * (2ull * blockIdx.x + 1));
}

__global__ void encode_kernel(SixteenBits format, uint32_t first, int64_t count, uint16_t* codes) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const float x = __uint_as_float(first + static_cast<uint32_t>(i));
  codes[i] = format == SixteenBits::kF16 ? gpu::f16_encode(x) : gpu::bf16_encode(x);
}

__global__ void decode_kernel(SixteenBits format, float* values) {
  const uint32_t code = blockIdx.x * kThreads + threadIdx.x;
  values[code] = format == SixteenBits::kF16 ? gpu::f16_decode(static_cast<uint16_t>(code))
                                             : gpu::bf16_decode(static_cast<uint16_t>(code));
}

__global__ void log64_kernel(const double* x, int64_t count, double* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = gpu::log64_ieee(x[i]);
}

}  // namespace

uint64_t device_checksum(DeviceFunction function) {
  DeviceArray<unsigned long long> total(1);
  unsigned long long result = 0;
  total.upload({&result, 1});
  checksum_kernel<<<kChunks, kThreads>>>(function, total.get());
  check_launch("checksum_kernel");
  total.download({&result, 1});
  return result;
}

void device_encode(SixteenBits format, uint32_t first, int64_t count, uint16_t* codes) {
  DeviceArray<uint16_t> out(count);
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  encode_kernel<<<blocks, kThreads>>>(format, first, count, out.get());
  check_launch("encode_kernel");
  out.download({codes, static_cast<size_t>(count)});
}

void device_decode(SixteenBits format, float* values) {
  DeviceArray<float> out(65536);
  decode_kernel<<<65536 / kThreads, kThreads>>>(format, out.get());
  check_launch("decode_kernel");
  out.download({values, 65536});
}

void device_log64(std::span<const double> x, double* out) {
  const int64_t count = std::ssize(x);
  DeviceArray<double> from(count), to(count);
  from.upload(x);
  log64_kernel<<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads>>>(
      from.get(), count, to.get());
  check_launch("log64_kernel");
  to.download({out, x.size()});
}

}  // namespace kvx::test
