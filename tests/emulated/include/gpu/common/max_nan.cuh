// gpu/common/max_nan.cuh on the emulated device.
#pragma once

namespace kvx::gpu {

inline float max_nan(float a, float b) { return a != a || a > b ? a : b; }

}  // namespace kvx::gpu
