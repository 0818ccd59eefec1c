// CUDA calls that fail become environment Errors that name what was asked for.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "sim/api/error.h"

namespace kvx::gpu {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw environment_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

// After a launch of kernel `name`.
inline void check_launch(const char* name) { check(cudaGetLastError(), name); }

}  // namespace kvx::gpu
