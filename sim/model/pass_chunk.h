// A chunk as a pass sees it. Private to the engine and to tasks that attend as it does.
#pragma once

#include <cstdint>

#include "sim/api/cache.h"

namespace kvx::model {

struct PassChunk {
  Span span;
  int64_t row = 0;     // of its first token in the pass
  bool exact = false;  // reads K and V exactly as computed
};

}  // namespace kvx::model
