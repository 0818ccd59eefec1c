// Rows of a cache as attention takes them. Private to the engine and to tasks that attend as it
// does.
#pragma once

#include <cstdint>
#include <optional>

#include "sim/api/cache.h"

namespace kvx::model {

// LayerCache::read; keys of a cache that holds them before rotation are rotated at their positions,
// by the steps of its config.
void read_rows(const LayerCache& cache, SeqId seq, Side side, RowRange range, Rows out);

// What one query reads, in the form that the engine is fast at: rows below `lead` exact, those of
// [lead, sealed) sealed, the others exact. Without sealed rows both are 0.
struct ReadForm {
  int64_t lead = 0;
  int64_t sealed = 0;
};

// None where the map of a query that may see `rows` rows says anything else.
std::optional<ReadForm> read_form(const ReadMap& map, int64_t rows);

// Rows [first, first + count), all below `sealed` of a form with this `lead`.
void read_form_rows(const LayerCache& cache, SeqId seq, Side side, int64_t lead, int64_t first,
                    int64_t count, Rows out);

}  // namespace kvx::model
