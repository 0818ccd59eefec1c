#include "tests/self/attention.h"

#include <array>
#include <cmath>
#include <limits>

#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/reduce.h"

namespace kvx::self {
namespace {

// Rows of one side as a query reads them, [token][kv heads][dim].
std::vector<float> rows_of(const LayerCache& cache, const Span& span, Side side, int64_t query) {
  const LayerShape& shape = cache.config().shape;
  const int64_t width = int64_t{shape.kv_heads} * shape.head_dim;
  std::vector<float> rows(static_cast<size_t>((query + 1) * width));
  for (const RowRange& range : cache.reads(span.seq, side, query))
    cache.read(
        span.seq, side, range,
        dense_rows(rows.data() + range.first * width, range.count, shape.kv_heads, shape.head_dim));
  return rows;
}

struct Row {
  const float* k;
  const float* v;
};

void attend_one(std::span<const float> q, std::span<const Row> rows, float* out, AttentionBug bug) {
  const size_t dim = q.size();
  const float c = num::attention_scale(static_cast<int>(dim));
  float running = -std::numeric_limits<float>::infinity();
  float total = 0.0f;
  std::fill_n(out, dim, 0.0f);
  for (size_t first = 0; first < rows.size(); first += num::kSegment) {
    const size_t count = std::min<size_t>(num::kSegment, rows.size() - first);
    std::array<float, num::kSegment> p{};
    for (size_t i = 0; i < count; ++i) p[i] = num::plain::dot(q, {rows[first + i].k, dim}) * c;
    const float m = std::ceil(num::plain::max({p.data(), count}));
    for (size_t i = 0; i < count; ++i) p[i] = num::exp2(p[i] - m);
    float l = 0.0f;
    if (bug == AttentionBug::kAscendingSum) {
      for (const float x : p) l += x;
    } else {
      l = num::plain::sum(std::span<const float>(p));
    }
    const std::array<float, 2> maxima = {running, m};
    const float greatest = num::plain::max(maxima);
    const float a =
        bug == AttentionBug::kNoRescale && first > 0 ? 1.0f : num::exp2(running - greatest);
    const float b = num::exp2(m - greatest);
    total = std::fma(l, b, total * a);
    for (size_t j = 0; j < dim; ++j) {
      float o = 0.0f;
      for (size_t i = 0; i < count; ++i) {
        const float v = rows[first + i].v[j];
        o = bug == AttentionBug::kProductRounded ? o + p[i] * v : std::fma(p[i], v, o);
      }
      out[j] = std::fma(o, b, out[j] * a);
    }
    running = greatest;
  }
  for (size_t j = 0; j < dim; ++j) out[j] = rows.empty() ? 0.0f : out[j] / total + 0.0f;
}

}  // namespace

void attend(const LayerCache& cache, ConstRows q, std::span<const Span> spans, Rows out,
            AttentionBug bug) {
  const LayerShape& shape = cache.config().shape;
  const int64_t width = int64_t{shape.kv_heads} * shape.head_dim;
  int64_t at = 0;
  for (const Span& span : spans) {
    for (int64_t query = span.first; query < span.first + span.count; ++query, ++at) {
      if (bug == AttentionBug::kLastRowUnwritten && at + 1 == q.tokens) return;
      const std::vector<float> k = rows_of(cache, span, Side::kK, query);
      const std::vector<float> v = rows_of(cache, span, Side::kV, query);
      for (int h = 0; h < q.heads; ++h) {
        const int head = bug == AttentionBug::kWrongHeadMap ? h % shape.kv_heads
                                                            : h / (q.heads / shape.kv_heads);
        std::vector<Row> rows;
        const int64_t end = bug == AttentionBug::kLostLastToken ? query : query + 1;
        for (int64_t t = 0; t < end; ++t) {
          const int64_t row = t * width + int64_t{head} * shape.head_dim;
          rows.push_back({k.data() + row, v.data() + row});
        }
        attend_one({q.row(at, h), static_cast<size_t>(q.dim)}, rows, out.row(at, h), bug);
      }
    }
  }
}

}  // namespace kvx::self
