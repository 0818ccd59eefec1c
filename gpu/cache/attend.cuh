// Attention over a cache (ieee.md, 2.7).
#pragma once

#include <stdexcept>

#include "gpu/cache/kernels.h"

namespace kvx::gpu {

inline int64_t attend_scratch_floats(const Pass&, const CacheShape&, int) { return 0; }

template <class Codec>
void attend(const Codec&, const Codec&, const AttendArgs&, cudaStream_t) {
  throw std::logic_error("attention is not built");
}

}  // namespace kvx::gpu
