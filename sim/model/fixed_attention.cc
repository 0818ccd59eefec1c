#include "sim/model/fixed_attention.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sim/api/fixed_refusals.h"
#include "sim/model/parallel.h"
#include "sim/num/fixed_cache.h"

namespace kvx::model {

void attend_fixed(const LayerCache& cache, std::span<const PassChunk> chunks, CacheMode mode,
                  int threads, ConstRows q, Rows out) {
  const LayerShape& shape = cache.config().shape;
  const int64_t step = num::fixed::tokens_at_once(q.heads, shape.kv_heads);
  struct Work {
    size_t chunk;
    int64_t first, count;  // tokens of the chunk
  };
  std::vector<Work> work;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Span& span = chunks[i].span;
    require_fixed_queries(shape.layer, q.slice(chunks[i].row, span.count), {&span, 1});
    for (int64_t first = 0; first < span.count; first += step)
      work.push_back({i, first, std::min(step, span.count - first)});
  }
  std::vector<std::optional<num::fixed::SpanReads>> reads(chunks.size());
  parallel_for(threads, std::ssize(chunks), [&](int64_t i) {
    const PassChunk& chunk = chunks[static_cast<size_t>(i)];
    reads[static_cast<size_t>(i)].emplace(cache, chunk.span, mode == CacheMode::kAll,
                                          q.slice(chunk.row, chunk.span.count),
                                          out.slice(chunk.row, chunk.span.count));
  });
  // The latest queries of a chunk see most rows: they go first.
  const int64_t items = std::ssize(work) * shape.kv_heads;
  parallel_for(threads, items, [&](int64_t i) {
    const int64_t last = items - 1 - i;
    const Work& one = work[static_cast<size_t>(last / shape.kv_heads)];
    reads[one.chunk]->attend(static_cast<int>(last % shape.kv_heads), one.first, one.count,
                             num::fixed::attend);
  });
}

}  // namespace kvx::model
