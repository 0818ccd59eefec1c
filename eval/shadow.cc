#include "eval/shadow.h"

#include <algorithm>
#include <set>
#include <span>

#include "ref/registry.h"
#include "sim/gen/random.h"
#include "sim/model/attention_rows.h"
#include "sim/num/attention.h"
#include "sim/num/fixed_cache.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

constexpr int64_t kQueries = 8;  // of every pass, whose attention is computed again

// `count` distinct numbers of [0, end), fewer where there are not so many.
std::set<int64_t> drawn(gen::Source source, int64_t count, int64_t end, std::set<int64_t> numbers) {
  for (uint64_t i = 0; std::ssize(numbers) < std::min(count, end); ++i)
    numbers.insert(static_cast<int64_t>(source.words(i)[0] % static_cast<uint64_t>(end)));
  return numbers;
}

ConstRows rows_of(const std::vector<float>& values, int heads, int dim) {
  return dense_rows(values.data(), std::ssize(values) / (int64_t{heads} * dim), heads, dim);
}

// K (rotated) or V of a layer as every query sees it, [rows][kv heads][head dim], and which rows
// there are.
struct SeenRows {
  std::vector<float> values;
  std::vector<bool> seen;
};

SeenRows held_rows(const LayerCache& cache, SeqId seq, Side side) {
  const LayerShape& shape = cache.config().shape;
  const size_t width = static_cast<size_t>(shape.kv_heads) * static_cast<size_t>(shape.head_dim);
  const size_t rows = static_cast<size_t>(cache.length(seq));
  SeenRows out{std::vector<float>(rows * width), std::vector<bool>(rows)};
  for (const RowRange& range : cache.held(seq, side)) {
    const size_t first = static_cast<size_t>(range.first);
    model::read_rows(
        cache, seq, side, range,
        dense_rows(&out.values[first * width], range.count, shape.kv_heads, shape.head_dim));
    std::fill_n(out.seen.begin() + range.first, range.count, true);
  }
  return out;
}

// All heads of one query that sees those of rows [0, position] of k and v that are `seen`.
void attend(ConstRows q, ConstRows k, ConstRows v, const std::function<bool(int64_t)>& seen,
            int64_t position, Rows out) {
  const size_t dim = static_cast<size_t>(q.dim);
  for (int head = 0; head < q.heads; ++head) {
    const int kv_head = head / (q.heads / k.heads);
    std::vector<num::AttentionRow> rows;
    for (int64_t t = 0; t <= position; ++t)
      if (seen(t)) rows.push_back({t, k.row(t, kv_head), v.row(t, kv_head)});
    num::plain::attend({q.row(0, head), dim}, rows, {out.row(0, head), dim});
  }
}

}  // namespace

Shadow::Shadow(const Descriptor& scheme, const model::ModelConfig& config,
               const PassSettings& settings)
    : settings_(settings) {
  const gen::Source source{.seed = settings.shadow.seed, .tensor = 0, .purpose = 1};
  for (const int64_t number : drawn(source, settings.shadow.layers, config.layers, {})) {
    const int layer = static_cast<int>(number);
    auto cache = ref::make_cache(
        scheme,
        {.shape = {layer, static_cast<int>(config.kv_heads), static_cast<int>(config.head_dim)},
         .windows = settings.mode == CacheMode::kAll ? Windows::kNone : Windows::kKept,
         .nonfinite = settings.nonfinite,
         .arithmetic = scheme_arithmetic(scheme, settings.arithmetic),
         .artifacts = settings.artifacts,
         .rope_steps = settings.rope_steps});
    const SeqId seq = cache->open();
    layers_.push_back({layer, std::move(cache), seq});
  }
}

bool Shadow::wants(const Piece&, int layer) const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [layer](const Layer& one) { return one.layer == layer; });
}

void Shadow::found(const std::string& level, const Place& place) {
  count_.mismatches += place.different;
  if (!first_ || level < first_->level) first_ = {level, place};
}

void Shadow::wait() {
  if (running_.valid()) running_.get();
}

void Shadow::tap(const Piece& piece, const model::LayerTap& tap) {
  wait();
  Taken taken{.layer = &*std::find_if(layers_.begin(), layers_.end(),
                                      [&](const Layer& one) { return one.layer == tap.layer; }),
              .piece = piece,
              .k = dense_values(tap.k),
              .v = dense_values(tap.v),
              .stored = {},
              .positions = {},
              .q = {},
              .out = {}};
  if (taken.layer->cache->traits().keys == KeySpace::kPreRope)
    taken.stored = dense_values(tap.k_pre);
  const gen::Source source{.seed = settings_.shadow.seed,
                           .tensor = static_cast<uint32_t>(tap.layer),
                           .purpose = static_cast<uint32_t>(2 + piece.first)};
  for (const int64_t token : drawn(source, kQueries, piece.count, {piece.count - 1})) {
    taken.positions.push_back(piece.first + token);
    taken.q.push_back(dense_values(tap.q.slice(token, 1)));
    taken.out.push_back(dense_values(tap.out.slice(token, 1)));
  }
  running_ = std::async(std::launch::async, [this, taken = std::move(taken)] { compute(taken); });
}

void Shadow::compute(const Taken& taken) {
  const Layer& layer = *taken.layer;
  const LayerShape& shape = layer.cache->config().shape;
  const Piece& piece = taken.piece;
  const ConstRows k = rows_of(taken.k, shape.kv_heads, shape.head_dim);
  const ConstRows v = rows_of(taken.v, shape.kv_heads, shape.head_dim);
  const Span span{layer.seq, piece.first, piece.count, piece.exact};
  const std::vector<float>& stored = taken.stored.empty() ? taken.k : taken.stored;
  layer.cache->append(rows_of(stored, shape.kv_heads, shape.head_dim), v, {&span, 1});
  SeenRows seen_k, seen_v;
  const bool held = settings_.mode == CacheMode::kAll && !piece.exact;
  const bool fixed = layer.cache->config().arithmetic == Arithmetic::kFixed;
  if (held && !fixed) {
    seen_k = held_rows(*layer.cache, layer.seq, Side::kK);
    seen_v = held_rows(*layer.cache, layer.seq, Side::kV);
  }
  for (size_t i = 0; i < taken.positions.size(); ++i) {
    const int64_t position = taken.positions[i];
    const int heads = static_cast<int>(std::ssize(taken.q[i]) / shape.head_dim);
    const ConstRows q = rows_of(taken.q[i], heads, shape.head_dim);
    std::vector<float> expected(taken.q[i].size());
    const Rows out = dense_rows(expected.data(), 1, heads, shape.head_dim);
    const Span query{.seq = layer.seq, .first = position, .count = 1};
    if (piece.exact) {
      attend(
          q, k, v, [](int64_t) { return true; }, position, out);
    } else if (held && fixed) {
      const num::fixed::SpanReads reads(*layer.cache, query, true, q, out);
      for (int head = 0; head < shape.kv_heads; ++head)
        reads.attend(head, 0, 1, num::fixed::plain::attend);
    } else if (held) {
      const auto seen = [&](int64_t t) {
        const size_t row = static_cast<size_t>(t);
        return seen_k.seen[row] && seen_v.seen[row];
      };
      attend(q, rows_of(seen_k.values, shape.kv_heads, shape.head_dim),
             rows_of(seen_v.values, shape.kv_heads, shape.head_dim), seen, position, out);
    } else {
      layer.cache->attend(q, {&query, 1}, out);
    }
    count_.attention += std::ssize(expected);
    if (const auto place = first_place(layer.layer, "out", out,
                                       rows_of(taken.out[i], heads, shape.head_dim), position))
      found("E2", *place);
  }
  layer.cache->settle(layer.seq);
}

void Shadow::append_context(const std::vector<ContextRows>& context) {
  wait();
  for (const Layer& layer : layers_) {
    const ContextRows& rows = context[static_cast<size_t>(layer.layer)];
    const LayerShape& shape = layer.cache->config().shape;
    const ConstRows k = rows_of(rows.k, shape.kv_heads, shape.head_dim);
    const Span span{layer.seq, 0, k.tokens, true};
    layer.cache->append(k, rows_of(rows.v, shape.kv_heads, shape.head_dim), {&span, 1});
    layer.cache->settle(layer.seq);
  }
}

void Shadow::finish(const model::Transformer& engine, SeqId seq) {
  wait();
  const auto is_decoded = [](const std::string& tensor) {
    return tensor.ends_with(".decoded") || tensor.ends_with(".decoded_fp32");
  };
  for (const Layer& layer : layers_)
    compare_contents(layer.layer, cache_content(*layer.cache, layer.seq),
                     cache_content(engine.cache(layer.layer), seq),
                     {[&](const std::string& tensor, int64_t values) {
                        (is_decoded(tensor) ? count_.decoded : count_.cache) += values;
                      },
                      [&](const std::string& tensor, const Place& place) {
                        found(is_decoded(tensor) ? "E1" : "E0", place);
                      }});
}

}  // namespace kvx::eval
