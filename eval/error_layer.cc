#include "eval/error_layer.h"

#include "eval/error_norm.h"
#include "eval/error_weights.h"
#include "eval/place.h"
#include "sim/model/attention_rows.h"
#include "sim/model/engine_attention.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

double relative_error(const std::vector<float>& found, const std::vector<float>& exact,
                      int64_t tokens) {
  const size_t width = exact.size() / static_cast<size_t>(tokens);
  RelativeError error;
  for (size_t at = 0; at < exact.size(); at += width)
    error.add(std::span(found).subspan(at, width), std::span(exact).subspan(at, width));
  return error.value();
}

// K (rotated) or V [tokens][kv heads][head dim] as the last query reads it; zeros where it does
// not.
std::vector<float> last_read(const LayerCache& cache, SeqId seq, Side side, CacheMode mode) {
  const LayerShape& shape = cache.config().shape;
  const int64_t tokens = cache.length(seq);
  const int64_t width = int64_t{shape.kv_heads} * shape.head_dim;
  std::vector<float> values(static_cast<size_t>(tokens * width));
  for (const RowRange& range : read_map(cache, seq, side, mode, tokens - 1))
    model::read_rows(cache, seq, side, range,
                     dense_rows(values.data() + range.first * width, range.count, shape.kv_heads,
                                shape.head_dim));
  return values;
}

void append_rows(std::vector<float>& to, ConstRows rows) {
  const std::vector<float> values = dense_values(rows);
  to.insert(to.end(), values.begin(), values.end());
}

}  // namespace

ActivationsListener::ActivationsListener(const model::ModelConfig& config)
    : layers_(static_cast<size_t>(config.layers)) {
  for (LayerActivations& layer : layers_) {
    layer.heads = static_cast<int>(config.heads);
    layer.kv_heads = static_cast<int>(config.kv_heads);
    layer.dim = static_cast<int>(config.head_dim);
  }
}

void ActivationsListener::tap(const Piece&, const model::LayerTap& tap) {
  LayerActivations& layer = layers_[static_cast<size_t>(tap.layer)];
  append_rows(layer.q, tap.q);
  append_rows(layer.k, tap.k);
  append_rows(layer.k_pre, tap.k_pre);
  append_rows(layer.v, tap.v);
  append_rows(layer.out, tap.out);
}

LayerResult layer_result(LayerCache& cache, const LayerActivations& base, CacheMode mode) {
  const int64_t tokens = base.tokens();
  const ConstRows q = dense_rows(base.q.data(), tokens, base.heads, base.dim);
  const ConstRows k = dense_rows(base.k.data(), tokens, base.kv_heads, base.dim);
  const ConstRows v = dense_rows(base.v.data(), tokens, base.kv_heads, base.dim);
  const Span span{.seq = cache.open(), .first = 0, .count = tokens};
  const bool pre_rope = cache.traits().keys == KeySpace::kPreRope;
  const std::vector<float>& stored = pre_rope ? base.k_pre : base.k;
  cache.append(dense_rows(stored.data(), tokens, base.kv_heads, base.dim), v, {&span, 1});

  LayerResult result;
  result.errors.k = relative_error(last_read(cache, span.seq, Side::kK, mode), base.k, tokens);
  result.errors.v = relative_error(last_read(cache, span.seq, Side::kV, mode), base.v, tokens);
  result.errors.weights = weights_error(cache, span.seq, mode, q, k);
  std::vector<float> out(base.out.size());
  const model::PassChunk chunk{.span = span};
  model::AttentionPass(mode, cache.config().nonfinite, 1)
      .run(cache, {&chunk, 1}, q, k, v, dense_rows(out.data(), tokens, base.heads, base.dim));
  result.errors.out = relative_error(out, base.out, tokens);

  cache.settle(span.seq);
  for (const Side side : {Side::kK, Side::kV}) {
    const size_t i = static_cast<size_t>(side);
    result.bytes[i] = cache.used(span.seq, side);
    result.nominal[i] = cache.nominal_bits(side);
  }
  return result;
}

}  // namespace kvx::eval
