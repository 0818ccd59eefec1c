// Device memory that shows whether a kernel wrote what it should: every value, and nothing else.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/common/memory.h"

namespace kvx::gpu {

// Floats between two fences; all of it is filled with a NaN pattern that no kernel makes.
class GuardedFloats {
 public:
  // The first of `count` floats, aligned to 256 bytes.
  float* prepare(int64_t count, cudaStream_t stream);

  // The values once the stream is done. Throws a verdict Error naming `what` and the place where a
  // fence was written or a value was not.
  std::vector<float> collect(const std::string& what, cudaStream_t stream) const;
  // The same, of the fences alone: for scratch memory.
  void check_fences(const std::string& what, cudaStream_t stream) const;

 private:
  DeviceArray<float> data_;
  int64_t count_ = 0;
};

}  // namespace kvx::gpu
