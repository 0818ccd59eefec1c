#include "sim/num/fixed_cache.h"

#include <algorithm>

#include "sim/api/fixed_refusals.h"

namespace kvx::num::fixed {
namespace {

// Ascending runs of the rows that some map reads exactly.
ReadMap exact_runs(std::span<const ReadMap> maps) {
  ReadMap runs;
  for (const ReadMap& map : maps)
    for (const RowRange& range : map)
      if (range.held == Held::kExact) runs.push_back(range);
  std::ranges::sort(runs, {}, &RowRange::first);
  size_t kept = 0;
  for (const RowRange& range : runs) {
    RowRange& last = runs[kept > 0 ? kept - 1 : 0];
    if (kept > 0 && range.first <= last.first + last.count) {
      last.count = std::max(last.count, range.first + range.count - last.first);
    } else {
      runs[kept++] = range;
    }
  }
  runs.resize(kept);
  return runs;
}

Sealed sealed_rows(const AffineRows& rows) {
  return {.codes = rows.codes,
          .scale = rows.scale,
          .zero = rows.zero,
          .along = rows.along_tokens ? Along::kTokens : Along::kChannels,
          .group = rows.group};
}

}  // namespace

SpanReads::SpanReads(const LayerCache& cache, const Span& span, bool held, ConstRows q, Rows out)
    : cache_(cache),
      span_(span),
      q_(q),
      out_(out),
      k_(read(kvx::Side::kK, held)),
      v_(read(kvx::Side::kV, held)) {}

SpanReads::Side SpanReads::read(kvx::Side side, bool held) const {
  Side reads;
  const ReadMap now = held ? cache_.held(span_.seq, side) : ReadMap{};
  for (int64_t query = span_.first; query < span_.first + span_.count; ++query) {
    if (!held) {
      reads.maps.push_back(cache_.reads(span_.seq, side, query));
      continue;
    }
    ReadMap& map = reads.maps.emplace_back();
    for (RowRange range : now) {
      range.count = std::min(range.count, query + 1 - range.first);
      if (range.count > 0) map.push_back(range);
    }
  }
  reads.exact = exact_runs(reads.maps);
  for (const RowRange& run : reads.exact) reads.count += run.count;
  const auto [layer, heads, dim] = cache_.config().shape;
  reads.rows.resize(static_cast<size_t>(heads * reads.count * dim));
  float* to = reads.rows.data();
  for (const RowRange& run : reads.exact) {
    cache_.read(span_.seq, side, run, {to, run.count, heads, dim, dim, reads.count * dim});
    to += run.count * dim;
  }
  return reads;
}

std::vector<RowRead> SpanReads::row_reads(const Side& side, const ReadMap& map, int kv_head) const {
  const int64_t dim = cache_.config().shape.head_dim;
  std::vector<RowRead> reads;
  for (const RowRange& range : map) {
    RowRead read{.first = range.first, .count = range.count};
    if (range.held == Held::kExact) {
      const float* rows = side.rows.data() + kv_head * side.count * dim;
      auto run = side.exact.begin();
      for (; run->first + run->count <= range.first; ++run) rows += run->count * dim;
      read.exact = rows + (range.first - run->first) * dim;
    }
    reads.push_back(read);
  }
  return reads;
}

void SpanReads::attend(int kv_head, int64_t first, int64_t count, Attend with) const {
  const Head head{.dim = q_.dim,
                  .k = sealed_rows(cache_.affine(span_.seq, kvx::Side::kK, kv_head)),
                  .v = sealed_rows(cache_.affine(span_.seq, kvx::Side::kV, kv_head))};
  const int group = q_.heads / cache_.config().shape.kv_heads;
  std::vector<std::vector<RowRead>> reads;
  reads.reserve(static_cast<size_t>(2 * count));
  std::vector<Query> queries;
  for (int64_t t = first; t < first + count; ++t) {
    const auto at = static_cast<size_t>(t);
    reads.push_back(row_reads(k_, k_.maps[at], kv_head));
    reads.push_back(row_reads(v_, v_.maps[at], kv_head));
    for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      queries.push_back(
          {.q = q_.row(t, h), .k = reads.end()[-2], .v = reads.end()[-1], .out = out_.row(t, h)});
    }
  }
  with(head, queries);
}

int64_t tokens_at_once(int query_heads, int kv_heads) {
  constexpr int kQueries = 64;
  return std::max(1, kQueries * kv_heads / query_heads);
}

void attend(const LayerCache& cache, ConstRows q, std::span<const Span> spans, Rows out,
            Attend with) {
  const LayerShape& shape = cache.config().shape;
  require_fixed_queries(shape.layer, q, spans);
  const int64_t step = tokens_at_once(q.heads, shape.kv_heads);
  int64_t at = 0;
  for (const Span& span : spans) {
    const SpanReads reads(cache, span, false, q.slice(at, span.count), out.slice(at, span.count));
    for (int head = 0; head < shape.kv_heads; ++head)
      for (int64_t first = 0; first < span.count; first += step)
        reads.attend(head, first, std::min(step, span.count - first), with);
    at += span.count;
  }
}

}  // namespace kvx::num::fixed
