#include "tests/support/attention_error.h"

#include "ref/registry.h"
#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/fixed_cache.h"
#include "sim/num/formats.h"

namespace kvx::test {
namespace {

// K or V of one KV head, [tokens][dim].
struct Content {
  std::vector<double> exact;    // code * s + z; rows that are not sealed as held
  std::vector<float> rounded;   // exact to binary32
  std::vector<float> binary16;  // rounded to binary16
  std::vector<float> decoded;   // as LayerCache::read returns it
};

Content content_of(const LayerCache& cache, SeqId seq, Side side, int head) {
  const auto [layer, heads, dim] = cache.config().shape;
  const int64_t tokens = cache.length(seq);
  const AffineRows rows = cache.affine(seq, side, head);
  std::vector<float> all(static_cast<size_t>(tokens * heads * dim));
  Content content;
  for (const RowRange& range : cache.held(seq, side)) {
    cache.read(seq, side, range,
               dense_rows(all.data() + range.first * heads * dim, range.count, heads, dim));
    for (int64_t t = range.first; t < range.first + range.count; ++t) {
      const float* decoded = all.data() + (t * heads + head) * dim;
      content.decoded.insert(content.decoded.end(), decoded, decoded + dim);
      for (int j = 0; j < dim; ++j) {
        if (range.held == Held::kExact) {
          content.exact.push_back(static_cast<double>(decoded[j]));
          continue;
        }
        const int64_t group =
            rows.along_tokens ? t / rows.group * dim + j : t * (dim / rows.group) + j / rows.group;
        content.exact.push_back(static_cast<double>(rows.codes[t * dim + j]) *
                                    static_cast<double>(rows.scale[group]) +
                                static_cast<double>(rows.zero[group]));
      }
    }
  }
  for (const double x : content.exact) {
    content.rounded.push_back(static_cast<float>(x));
    content.binary16.push_back(num::f16_round(content.rounded.back()));
  }
  return content;
}

void ieee_attention(std::span<const float> q, const std::vector<float>& k,
                    const std::vector<float>& v, int64_t rows, std::span<float> out) {
  std::vector<num::AttentionRow> list;
  const int64_t dim = std::ssize(q);
  for (int64_t t = 0; t < rows; ++t)
    list.push_back({t, &k[static_cast<size_t>(t * dim)], &v[static_cast<size_t>(t * dim)]});
  num::plain::attend(q, list, out);
}

}  // namespace

ExactAttention exact_attention(std::span<const float> q, std::span<const double> k,
                               std::span<const double> v) {
  const size_t dim = q.size(), rows = k.size() / dim;
  std::vector<double> p(rows);
  for (size_t t = 0; t < rows; ++t) {
    double score = 0;
    for (size_t j = 0; j < dim; ++j) score += static_cast<double>(q[j]) * k[t * dim + j];
    p[t] = score / std::sqrt(static_cast<double>(dim));
  }
  const double top = *std::max_element(p.begin(), p.end());
  double total = 0;
  for (double& x : p) total += x = std::exp(x - top);
  ExactAttention exact{std::vector<double>(dim)};
  for (size_t t = 0; t < rows; ++t) {
    for (size_t j = 0; j < dim; ++j) {
      exact.out[j] += p[t] * v[t * dim + j];
      exact.size += p[t] * std::fabs(v[t * dim + j]);
    }
  }
  for (double& x : exact.out) x /= total;
  exact.size /= total * static_cast<double>(dim);
  return exact;
}

std::vector<float> fp16_attention(std::span<const float> q, std::span<const float> k,
                                  std::span<const float> v) {
  const size_t dim = q.size(), rows = k.size() / dim;
  std::vector<float> q16(dim), p(rows), out(dim);
  num::f16_round(q, q16);
  const float c = num::attention_scale(static_cast<int>(dim));
  for (size_t t = 0; t < rows; ++t) {
    float score = 0;
    for (size_t j = 0; j < dim; ++j) score = std::fma(q16[j], k[t * dim + j], score);
    p[t] = score * c;
  }
  const float top = *std::max_element(p.begin(), p.end());
  float total = 0;
  for (float& x : p) {
    x = num::exp2(x - top);
    total += x;
    x = num::f16_round(x);
  }
  for (size_t t = 0; t < rows; ++t)
    for (size_t j = 0; j < dim; ++j) out[j] = std::fma(p[t], v[t * dim + j], out[j]);
  for (float& x : out) x /= total;
  return out;
}

AttentionOutputs attention_outputs(const Descriptor& scheme, int layer, ConstRows q, ConstRows k,
                                   ConstRows v) {
  const int dim = q.dim;
  const auto cache = ref::make_cache(scheme, {.shape = {layer, k.heads, dim},
                                              .windows = Windows::kNone,
                                              .arithmetic = Arithmetic::kFixed});
  const Span window{.seq = cache->open(), .first = 0, .count = k.tokens};
  cache->append(k, v, {&window, 1});

  AttentionOutputs outputs{.heads = q.heads, .dim = dim, .queries = q.tokens};
  const auto values = static_cast<size_t>(q.heads * q.tokens * dim);
  outputs.exact.resize(values);
  outputs.size.resize(values / static_cast<size_t>(dim));
  for (std::vector<float>& found : outputs.found) found.resize(values);
  const auto found = [&](Rounding rounding) -> Rows {
    return {outputs.found[static_cast<size_t>(rounding)].data(),
            q.tokens,
            q.heads,
            dim,
            dim,
            q.tokens * dim};
  };

  const Span last{.seq = window.seq, .first = k.tokens - q.tokens, .count = q.tokens};
  const num::fixed::SpanReads reads(*cache, last, true, q, found(Rounding::kFixed));
  const int group = q.heads / k.heads;
  for (int kv_head = 0; kv_head < k.heads; ++kv_head) {
    reads.attend(kv_head, 0, q.tokens, num::fixed::attend);
    const Content key = content_of(*cache, window.seq, Side::kK, kv_head);
    const Content value = content_of(*cache, window.seq, Side::kV, kv_head);
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t i = 0; i < q.tokens; ++i) {
        const std::span query(q.row(i, head), static_cast<size_t>(dim));
        const int64_t rows = last.first + i + 1;
        const auto seen = [&](const auto& x) {
          return std::span(x).first(static_cast<size_t>(rows * dim));
        };
        const auto out = [&](Rounding rounding) {
          return std::span(found(rounding).row(i, head), static_cast<size_t>(dim));
        };
        const ExactAttention exact = exact_attention(query, seen(key.exact), seen(value.exact));
        std::ranges::copy(exact.out,
                          &outputs.exact[static_cast<size_t>((head * q.tokens + i) * dim)]);
        outputs.size[static_cast<size_t>(head * q.tokens + i)] = exact.size;
        ieee_attention(query, key.rounded, value.rounded, rows, out(Rounding::kIeee));
        ieee_attention(query, key.decoded, value.decoded, rows, out(Rounding::kIeeeDecoded));
        std::ranges::copy(fp16_attention(query, seen(key.binary16), seen(value.binary16)),
                          out(Rounding::kFp16).begin());
      }
    }
  }
  return outputs;
}

std::vector<HeadErrors> head_errors(const AttentionOutputs& outputs) {
  std::vector<HeadErrors> errors(static_cast<size_t>(outputs.heads));
  const auto dim = static_cast<size_t>(outputs.dim);
  for (size_t i = 0; i < outputs.size.size(); ++i) {
    const std::span exact = std::span(outputs.exact).subspan(i * dim, dim);
    for (size_t rounding = 0; rounding < kRoundings.size(); ++rounding)
      errors[i / static_cast<size_t>(outputs.queries)][rounding].add(
          std::span(outputs.found[rounding]).subspan(i * dim, dim), exact, outputs.size[i]);
  }
  return errors;
}

}  // namespace kvx::test
