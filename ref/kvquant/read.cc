// kvquant::Cache: what queries read.
#include <algorithm>

#include "ref/kvquant/cache.h"
#include "sim/num/attention.h"
#include "sim/num/formats.h"
#include "sim/num/rope.h"

namespace kvx::ref::kvquant {

ReadMap Cache::held(SeqId seq, Side) const {
  const int64_t length = find(seq).length, sink = sink_tokens(length);
  ReadMap map;
  if (sink > 0) map.push_back({0, sink, Held::kExact});
  if (sink < length) map.push_back({sink, length - sink, Held::kSealed});
  return map;
}

ReadMap Cache::reads(SeqId seq, Side, int64_t query) const {
  const Sequence& sequence = find(seq);
  require(query >= sequence.last_append && query < sequence.length,
          "reads: the query is not of the last append");
  const int64_t sink = sink_tokens(query + 1);
  ReadMap map;
  if (sink > 0) map.push_back({0, sink, Held::kExact});
  if (sink < query + 1) map.push_back({sink, query + 1 - sink, Held::kSealed});
  return map;
}

void Cache::decode(Side side, const Store& store, int64_t coded_token, std::span<float> x) const {
  const auto t = static_cast<size_t>(coded_token);
  const std::span outliers(store.outliers);
  coder(side).decode(std::span(store.codes).subspan(t * x.size(), x.size()),
                     per_token(side) ? store.lo[t] : uint16_t{0},
                     per_token(side) ? store.hi[t] : uint16_t{0},
                     outliers.subspan(store.starts[t], store.starts[t + 1] - store.starts[t]), x);
}

void Cache::read(SeqId seq, Side side, RowRange range, Rows out) const {
  const Sequence& sequence = find(seq);
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const int64_t end = range.first + range.count, sink = sink_tokens(sequence.length);
  require(out.tokens == range.count && out.heads == config_.shape.kv_heads &&
              out.dim == config_.shape.head_dim,
          "read: out is not of the shape of range and layer");
  const bool exact = range.held == Held::kExact;
  require(range.count >= 0 && range.first >= (exact ? 0 : sink) &&
              end <= (exact ? sink : sequence.length),
          exact ? "read: rows that are not held exact" : "read: rows that are not sealed");
  std::vector<float> x(static_cast<size_t>(channels()));
  for (int64_t token = range.first; token < end; ++token) {
    const float* from = x.data();
    if (exact) {
      from = store.sink.data() + token * channels();
    } else {
      decode(side, store, token - sink, x);
      num::f16_round(x, x);
    }
    for (int head = 0; head < out.heads; ++head, from += out.dim) {
      std::copy_n(from, out.dim, out.row(token - range.first, head));
    }
  }
}

std::vector<float> Cache::attended(Side side, const Sequence& sequence, int64_t length) const {
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const auto d = static_cast<size_t>(channels()), dim = static_cast<size_t>(config_.shape.head_dim);
  const int64_t sink = sink_tokens(length);
  std::vector<float> rows(static_cast<size_t>(length) * d);
  std::copy_n(store.sink.begin(), static_cast<size_t>(sink) * d, rows.begin());
  for (int64_t t = sink; t < length; ++t) {
    const std::span row(rows.data() + static_cast<size_t>(t) * d, d);
    decode(side, store, t - sink, row);
    num::f16_round(row, row);
  }
  if (side == Side::kV || !settings_.pre_rope) return rows;
  require(config_.rope_steps.size() * 2 == dim, "attend: no rotary steps for keys before rotation");
  std::vector<float> sin(dim / 2), cos(dim / 2);
  for (int64_t t = 0; t < length; ++t) {
    num::rope_table(config_.rope_steps, t, sin, cos);
    for (size_t at = 0; at < d; at += dim) {
      num::rope_rotate({rows.data() + static_cast<size_t>(t) * d + at, dim}, sin, cos);
    }
  }
  return rows;
}

void Cache::attend(ConstRows q, std::span<const Span> spans, Rows out) const {
  check_spans(q, spans, "attend: q");
  require(out.tokens == q.tokens && out.heads == q.heads && out.dim == q.dim,
          "attend: out is not of the shape of q");
  const int group = q.heads / config_.shape.kv_heads;
  const auto dim = static_cast<size_t>(q.dim);
  int64_t at = 0;
  for (const Span& span : spans) {
    if (span.count == 0) continue;
    const Sequence& sequence = find(span.seq);
    const int64_t end = span.first + span.count;
    require(span.first >= sequence.last_append && end <= sequence.length,
            "attend: the queries are not of the last append");
    const std::vector<float> k = attended(Side::kK, sequence, end);
    const std::vector<float> v = attended(Side::kV, sequence, end);
    std::vector<num::AttentionRow> rows;
    for (int64_t t = span.first; t < end; ++t, ++at) {
      for (int h = 0; h < q.heads; ++h) {
        rows.clear();
        for (int64_t token = 0; token <= t; ++token) {
          const int64_t row = token * channels() + h / group * q.dim;
          rows.push_back({token, k.data() + row, v.data() + row});
        }
        num::plain::attend({q.row(at, h), dim}, rows, {out.row(at, h), dim});
      }
    }
  }
}

}  // namespace kvx::ref::kvquant
