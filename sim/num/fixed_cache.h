// Attention in arithmetic `fixed` over what a layer cache lets its queries read.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/api/cache.h"
#include "sim/num/fixed.h"

namespace kvx::num::fixed {

// fixed::attend, or fixed::plain::attend, the definition.
using Attend = void (*)(const Head&, std::span<const Query>);

// What the queries of one span read of a cache in host memory, whose config asks for `fixed`. The
// cache must not change while it is used; const members may run on several threads at once.
class SpanReads {
 public:
  // held: every query reads what is held now, up to its own position (mode `all`), and not what
  // LayerCache::reads says. q, out: [tokens of the span][query heads][head dim].
  SpanReads(const LayerCache& cache, const Span& span, bool held, ConstRows q, Rows out);

  // The query heads of a KV head at tokens [first, first + count) of the span.
  void attend(int kv_head, int64_t first, int64_t count, Attend with) const;

 private:
  struct Side {
    std::vector<ReadMap> maps;  // per query
    ReadMap exact;              // runs of rows that some query reads exactly
    std::vector<float> rows;    // [kv heads][rows of all runs][head dim]
    int64_t count = 0;          // rows of all runs
  };
  Side read(kvx::Side side, bool held) const;
  std::vector<RowRead> row_reads(const Side& side, const ReadMap& map, int kv_head) const;

  const LayerCache& cache_;
  Span span_;
  ConstRows q_;
  Rows out_;
  Side k_, v_;
};

// Tokens that one call of SpanReads::attend takes at most, so that queries share what is unpacked
// and their state stays small.
int64_t tokens_at_once(int query_heads, int kv_heads);

// LayerCache::attend, on one thread.
void attend(const LayerCache& cache, ConstRows q, std::span<const Span> spans, Rows out,
            Attend with);

}  // namespace kvx::num::fixed
