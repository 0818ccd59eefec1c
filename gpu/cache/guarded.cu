#include <bit>
#include <span>

#include "gpu/cache/guarded.h"

namespace kvx::gpu {
namespace {

constexpr uint32_t kPattern = 0x7FC0DEAD;
constexpr int64_t kFence = 4096;  // floats on either side

__global__ void fill(float* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = __uint_as_float(kPattern);
  }
}

bool is_pattern(float x) { return std::bit_cast<uint32_t>(x) == kPattern; }

void check_fence(std::span<const float> fence, const std::string& what, const char* where) {
  for (size_t i = 0; i < fence.size(); ++i) {
    if (is_pattern(fence[i])) continue;
    throw Error(Exit::kVerdict, "CUDA: " + what + " wrote outside its memory: " + where +
                                    " it, at distance " + std::to_string(i));
  }
}

}  // namespace

float* GuardedFloats::prepare(int64_t count, cudaStream_t stream) {
  count_ = count;
  const int64_t all = count + 2 * kFence;
  fill<<<512, 256, 0, stream>>>(data_.reserve(all), all);
  check_launch("fill");
  return data_.get() + kFence;
}

void GuardedFloats::check_fences(const std::string& what, cudaStream_t stream) const {
  std::vector<float> fence(kFence);
  data_.download(fence, 0, stream);
  check_fence(fence, what, "before");
  data_.download(fence, kFence + count_, stream);
  check_fence(fence, what, "behind");
}

std::vector<float> GuardedFloats::collect(const std::string& what, cudaStream_t stream) const {
  check_fences(what, stream);
  std::vector<float> values(static_cast<size_t>(count_));
  data_.download(values, kFence, stream);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!is_pattern(values[i])) continue;
    throw Error(Exit::kVerdict, "CUDA: " + what + " did not write value " + std::to_string(i) +
                                    " of " + std::to_string(values.size()));
  }
  return values;
}

}  // namespace kvx::gpu
