// PrefixCache: what queries read.
#include <algorithm>
#include <array>

#include "ref/cache/append_checks.h"
#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/num/attention.h"
#include "sim/num/fixed_cache.h"

namespace kvx::ref {

ReadMap PrefixCache::held(SeqId seq, Side side) const {
  const Sequence& sequence = find(seq);
  const int64_t split = sealed(side, sequence);
  ReadMap map;
  if (split > 0) map.push_back({0, split, Held::kSealed});
  if (split < sequence.length) map.push_back({split, sequence.length - split, Held::kExact});
  return map;
}

ReadMap PrefixCache::reads(SeqId seq, Side side, int64_t query) const {
  const Sequence& sequence = find(seq);
  require(query >= sequence.last_append && query < sequence.length,
          "reads: the query is not of the last append");
  const int64_t split = scheme(side).rule.sealed_for_query(query);
  ReadMap map;
  if (split > 0) map.push_back({0, split, Held::kSealed});
  if (split <= query) map.push_back({split, query + 1 - split, Held::kExact});
  return map;
}

void PrefixCache::read(SeqId seq, Side side, RowRange range, Rows out) const {
  const Sequence& sequence = find(seq);
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const int64_t end = range.first + range.count;
  require(out.tokens == range.count && out.heads == config_.shape.kv_heads &&
              out.dim == config_.shape.head_dim,
          "read: out is not of the shape of range and layer");
  const auto dim = static_cast<size_t>(out.dim);
  if (range.held == Held::kExact) {
    require(range.count >= 0 && range.first >= store.first_row && end <= sequence.length,
            "read: rows that are not held exact");
    for (int64_t token = range.first; token < end; ++token) {
      for (int head = 0; head < out.heads; ++head) {
        load_elements(
            traits_.input,
            store.rows.data() + (token - store.first_row) * token_bytes() + head * row_bytes(),
            {out.row(token - range.first, head), dim});
      }
    }
    return;
  }
  require(range.count >= 0 && range.first >= 0 && end <= sealed(side, sequence),
          "read: rows that are not sealed");
  const SideScheme& s = scheme(side);
  const int64_t tokens = s.coder->tokens();
  const auto block_bytes = static_cast<size_t>(s.coder->bytes());
  std::vector<float> x(static_cast<size_t>(tokens) * dim);
  for (int64_t block = range.first / tokens; block * tokens < end; ++block) {
    const int64_t from = std::max(range.first, block * tokens);
    const int64_t to = std::min(end, (block + 1) * tokens);
    for (int head = 0; head < out.heads; ++head) {
      const auto index = static_cast<size_t>(block * out.heads + head);
      s.coder_of(head).decode(std::span(store.sealed).subspan(index * block_bytes, block_bytes), x);
      for (int64_t token = from; token < to; ++token) {
        std::copy_n(x.data() + static_cast<size_t>(token - block * tokens) * dim, dim,
                    out.row(token - range.first, head));
      }
    }
  }
}

void PrefixCache::attend(ConstRows q, std::span<const Span> spans, Rows out) const {
  check_spans(config_.shape, q, spans, "attend: q");
  require(out.tokens == q.tokens && out.heads == q.heads && out.dim == q.dim,
          "attend: out is not of the shape of q");
  if (config_.arithmetic == Arithmetic::kFixed) {
    num::fixed::attend(*this, q, spans, out, num::fixed::plain::attend);
  } else {
    attend_ieee(q, spans, out);
  }
}

void PrefixCache::attend_ieee(ConstRows q, std::span<const Span> spans, Rows out) const {
  const int kv_heads = config_.shape.kv_heads;
  const int dim = config_.shape.head_dim;
  int64_t at = 0;
  for (const Span& span : spans) {
    if (span.count == 0) continue;
    const Sequence& sequence = find(span.seq);
    const int64_t last = span.first + span.count - 1;
    require(span.first >= sequence.last_append && last < sequence.length,
            "attend: the queries are not of the last append");
    // Per side: sealed tokens decoded, and exact rows from the first that a query of this span
    // reads so.
    std::array<std::vector<float>, 2> decoded, exact;
    std::array<int64_t, 2> first_exact;
    for (const Side side : kSides) {
      const auto s = static_cast<size_t>(side);
      const int64_t split = scheme(side).rule.sealed_for_query(last);
      first_exact[s] = scheme(side).rule.sealed_for_query(span.first);
      const int64_t count = last + 1 - first_exact[s];
      decoded[s].resize(static_cast<size_t>(split * kv_heads * dim));
      exact[s].resize(static_cast<size_t>(count * kv_heads * dim));
      read(span.seq, side, {0, split, Held::kSealed},
           dense_rows(decoded[s].data(), split, kv_heads, dim));
      read(span.seq, side, {first_exact[s], count, Held::kExact},
           dense_rows(exact[s].data(), count, kv_heads, dim));
    }
    const auto row = [&](Side side, int64_t split, int64_t token, int head) -> const float* {
      const auto s = static_cast<size_t>(side);
      return token < split ? decoded[s].data() + (token * kv_heads + head) * dim
                           : exact[s].data() + ((token - first_exact[s]) * kv_heads + head) * dim;
    };
    std::vector<num::AttentionRow> rows;
    for (int64_t t = span.first; t <= last; ++t, ++at) {
      const int64_t split_k = scheme(Side::kK).rule.sealed_for_query(t);
      const int64_t split_v = scheme(Side::kV).rule.sealed_for_query(t);
      for (int head = 0; head < kv_heads; ++head) {
        rows.clear();
        for (int64_t token = 0; token <= t; ++token) {
          rows.push_back(
              {token, row(Side::kK, split_k, token, head), row(Side::kV, split_v, token, head)});
        }
        const int group = q.heads / kv_heads;
        for (int h = head * group; h < (head + 1) * group; ++h) {
          const auto width = static_cast<size_t>(dim);
          num::plain::attend({q.row(at, h), width}, rows, {out.row(at, h), width});
        }
      }
    }
  }
}

}  // namespace kvx::ref
