// What caches under the arithmetic `fixed` refuse (sim/num/fixed.md, 3), in the same words on
// either side.
#pragma once

#include <cstdint>
#include <span>

#include "sim/api/cache.h"
#include "sim/api/error.h"

namespace kvx {

// A group whose scale is not finite, by its first token and channel.
Error infinite_scale(int layer, Side side, int64_t head, int64_t token, int64_t channel);

// A q that is not finite or beyond 2^64 throws an environment Error: layer, head, token, channel.
// q: [tokens of the spans][query heads][head dim].
void require_fixed_queries(int layer, ConstRows q, std::span<const Span> spans);

}  // namespace kvx
