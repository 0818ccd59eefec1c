// Attention over what a cache says its queries read, step by step as ieee.md, 2.7 writes it, with
// one step done wrong where asked for.
#pragma once

#include "sim/api/cache.h"

namespace kvx::self {

enum class AttentionBug : uint8_t {
  kNone,
  kAscendingSum,    // p summed in ascending order, not over 128 lanes
  kProductRounded,  // o_j + p v with the product rounded, not fma
  kLostLastToken,   // the query's own token is not visible
  kWrongHeadMap,    // query head h reads KV head h mod kv heads
  kNoRescale,       // earlier segments keep their maximum
  kLastRowUnwritten,
};

void attend(const LayerCache& cache, ConstRows q, std::span<const Span> spans, Rows out,
            AttentionBug bug);

}  // namespace kvx::self
