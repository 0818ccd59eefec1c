// gpu/fused/async_copy.cuh on the emulated device: a copy is there when it was waited for.
#pragma once

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

inline void copy16(void* to, const void* from) { emulated::begin_own_copy(to, from, 16); }
inline void wait_for_own_copies() { emulated::wait_for_own_copies(); }

}  // namespace kvx::gpu::fused
