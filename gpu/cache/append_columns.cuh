#pragma once

#include "gpu/cache/append_tokens.cuh"

namespace kvx::gpu {
inline bool takes_columns(const SideView&) { return false; }
template <class Codec>
__device__ inline void append_columns(const AppendSide<Codec>& s, const PassSpan& span,
                                      NonFiniteKey* non_finite) {
  append_tokens(s, span, non_finite);
}
}  // namespace kvx::gpu
