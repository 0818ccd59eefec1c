#include <bit>

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

[[noreturn]] void written_outside(const std::string& what, int64_t distance, const char* where) {
  throw Error(Exit::kVerdict, "CUDA: " + what + " wrote outside its memory: " +
                                  std::to_string(distance) + " " + where + " it");
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
  for (int64_t i = 1; i <= kFence; ++i) {
    if (!is_pattern(fence[static_cast<size_t>(kFence - i)])) written_outside(what, i, "before");
  }
  data_.download(fence, kFence + count_, stream);
  for (int64_t i = 1; i <= kFence; ++i) {
    if (!is_pattern(fence[static_cast<size_t>(i - 1)])) written_outside(what, i, "behind");
  }
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
