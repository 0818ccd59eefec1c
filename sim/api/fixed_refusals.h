// What caches under the arithmetic `fixed` refuse (sim/num/fixed.md, 3), in the same words on
// either side.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "sim/api/cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"

namespace kvx {

// Throws the usage Error of a descriptor that has no `fixed`, if that is what the config asks for.
// `why` completes "SCHEME has no arithmetic fixed: ".
void refuse_fixed(const Descriptor& descriptor, const CacheConfig& config, std::string_view why);
// The same for numbers that are not finite, which no scheme takes there.
void refuse_fixed_non_finite(const Descriptor& descriptor, const CacheConfig& config);

// A group whose scale is not finite, by its first token and channel.
Error infinite_scale(int layer, Side side, int64_t head, int64_t token, int64_t channel);

// A q that is not finite or beyond 2^64 throws an environment Error: layer, head, token, channel.
// q: [tokens of the spans][query heads][head dim].
void require_fixed_queries(int layer, ConstRows q, std::span<const Span> spans);

}  // namespace kvx
