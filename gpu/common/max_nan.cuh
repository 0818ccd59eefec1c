// The maximum of ieee.md, 2.3, on the device.
#pragma once

namespace kvx::gpu {

// NaN wins; of zeros either.
__device__ inline float max_nan(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

}  // namespace kvx::gpu
