// What every cache of the reference demands of the rows that it is given, in the same words.
#pragma once

#include <functional>
#include <span>

#include "sim/api/cache.h"
#include "sim/api/error.h"

namespace kvx::ref {

// `rows` hold the tokens of all spans, of a multiple of the layer's KV heads and of its head dim;
// else a std::logic_error that names them `name`.
void check_spans(const LayerShape& shape, ConstRows rows, std::span<const Span> spans,
                 const char* name);

// K and V of an append: of the layer's shape, every span at the end of its sequence (`length`),
// none twice; else a std::logic_error.
void check_append(const LayerShape& shape, ConstRows k, ConstRows v, std::span<const Span> spans,
                  const std::function<int64_t(SeqId)>& length);

// The refusal of a value that is not finite in the type that the cache stores.
Error not_finite(const LayerShape& shape, Side side, int head, int64_t token, int64_t channel,
                 float value, InputType input);

}  // namespace kvx::ref
