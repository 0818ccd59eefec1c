// How many multiprocessors the current device has.
#pragma once

#include <cuda_runtime.h>

#include "gpu/common/check.h"

namespace kvx::gpu {

inline int processors() {
  static const int count = [] {
    int device = 0, n = 0;
    check(cudaGetDevice(&device), "current device");
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
    return n;
  }();
  return count;
}

}  // namespace kvx::gpu
