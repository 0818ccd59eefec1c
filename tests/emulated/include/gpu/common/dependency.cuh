// gpu/common/dependency.cuh on the emulated device: kernels run one after the other.
#pragma once

#include "tests/emulated/device.h"

namespace kvx::gpu {

inline void wait_for_predecessors() { emulated::note_wait(); }
inline void let_successor_begin() {}

}  // namespace kvx::gpu
