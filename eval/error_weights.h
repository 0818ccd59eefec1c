// Attention weights of the last queries of a window, as a cache lets them read the keys.
#pragma once

#include <cstdint>

#include "sim/api/cache.h"
#include "sim/model/transformer.h"

namespace kvx::eval {

// Queries at the end of a window whose weights are compared; all of a shorter one.
inline constexpr int64_t kWeightQueries = 64;

// What the query at `position` of the last append reads in a cache mode: kAll as `held`, kStreamed
// as `reads`; other modes do not occur. May name rows behind the query.
ReadMap read_map(const LayerCache& cache, SeqId seq, Side side, model::CacheMode mode,
                 int64_t position);

// Relative error of the softmax rows of the last kWeightQueries queries, all heads, against those
// of the unquantised keys (error.md). q [tokens][heads][head dim] and k [tokens][kv heads][head
// dim] rotated, of a window that has just been appended to the empty sequence `seq`.
double weights_error(const LayerCache& cache, SeqId seq, model::CacheMode mode, ConstRows q,
                     ConstRows k);

}  // namespace kvx::eval
