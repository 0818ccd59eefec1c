// Times of work on the device, by events, and what it can be measured against.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "gpu/common/check.h"
#include "gpu/common/memory.h"

namespace kvx::gpu {

// Median seconds of one call of `work(i)`, i = 0, 1, ...
inline double seconds(const std::function<void(int)>& work) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  int next = 0;
  const auto measure = [&](int calls) {
    check(cudaEventRecord(begin), "event");
    for (int i = 0; i < calls; ++i) work(next++);
    check(cudaEventRecord(end), "event");
    check(cudaEventSynchronize(end), "measured work");
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    return static_cast<double>(ms) * 1e-3 / calls;
  };
  measure(3);
  const int calls = std::clamp(static_cast<int>(3e-3 / measure(3)), 2, 400);
  std::vector<double> samples;
  for (int i = 0; i < 7; ++i) samples.push_back(measure(calls));
  std::nth_element(samples.begin(), samples.begin() + 3, samples.end());
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
  return samples[3];
}

// Bytes read and written a second by a copy within device memory.
inline double copy_bytes_per_second() {
  constexpr int64_t kBytes = int64_t{512} << 20;
  const DeviceArray<std::byte> from(kBytes), to(kBytes);
  const double s = seconds([&](int) {
    check(cudaMemcpyAsync(to.get(), from.get(), kBytes, cudaMemcpyDeviceToDevice), "copy");
  });
  return 2.0 * kBytes / s;
}

}  // namespace kvx::gpu
