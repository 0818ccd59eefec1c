// Attention of one layer in arithmetic `fixed`: over codes, on several threads. Private to the
// engine.
#pragma once

#include <span>

#include "sim/api/cache.h"
#include "sim/model/pass_chunk.h"
#include "sim/model/transformer.h"

namespace kvx::model {

// Of chunks that read the cache, which is under `fixed` and has been given their rows. q and out
// are the pass's, [rows][heads][d]; only rows of the chunks are written.
void attend_fixed(const LayerCache& cache, std::span<const PassChunk> chunks, CacheMode mode,
                  int threads, ConstRows q, Rows out);

}  // namespace kvx::model
