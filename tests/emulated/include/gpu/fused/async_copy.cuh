// gpu/fused/async_copy.cuh on the emulated device: a copy is there when it was waited for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/emulated/device.h"

namespace kvx::gpu::fused {

inline uint32_t shared_address(const void* p) { return emulated::shared_offset(p, 1); }

inline void copy16(void* to, const void* from) { emulated::begin_copy(to, from, 16); }
inline void end_copies() { emulated::end_copy_group(); }

inline constexpr int kMostPending = 3;
inline void wait_for_copies(int pending) {
  emulated::wait_copy_groups(pending < 0 || pending > kMostPending ? kMostPending : pending);
}

}  // namespace kvx::gpu::fused
