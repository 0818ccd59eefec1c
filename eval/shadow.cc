#include "eval/shadow.h"

#include <omp.h>

#include <algorithm>
#include <set>
#include <span>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/gen/random.h"
#include "sim/num/attention.h"

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

// K or V of a layer as every query sees it, [rows][kv heads][head dim], and which rows there are.
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
    cache.read(seq, side, range,
               dense_rows(&out.values[first * width], range.count, shape.kv_heads, shape.head_dim));
    std::fill_n(out.seen.begin() + range.first, range.count, true);
  }
  return out;
}

// All heads of one query that sees rows [0, position] of k and v.
std::vector<float> attend(ConstRows q, ConstRows k, ConstRows v,
                          const std::function<bool(int64_t)>& seen, int64_t position) {
  const size_t dim = static_cast<size_t>(q.dim);
  std::vector<float> out(static_cast<size_t>(q.heads) * dim);
  for (int head = 0; head < q.heads; ++head) {
    const int kv_head = head / (q.heads / k.heads);
    std::vector<num::AttentionRow> rows;
    for (int64_t t = 0; t <= position; ++t)
      if (seen(t)) rows.push_back({t, k.row(t, kv_head), v.row(t, kv_head)});
    num::plain::attend({q.row(0, head), dim}, rows, {&out[static_cast<size_t>(head) * dim], dim});
  }
  return out;
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
         .artifacts = settings.artifacts});
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

std::vector<std::vector<float>> Shadow::attention(const Layer& layer, const Piece& piece,
                                                  const model::LayerTap& tap,
                                                  const std::vector<int64_t>& tokens) const {
  const LayerCache& cache = *layer.cache;
  const bool held = settings_.mode == CacheMode::kAll && !piece.exact;
  SeenRows k, v;
  if (held) {
    k = held_rows(cache, layer.seq, Side::kK);
    v = held_rows(cache, layer.seq, Side::kV);
  }
  std::vector<std::vector<float>> out(tokens.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < tokens.size(); ++i) {
    const ConstRows q = tap.q.slice(tokens[i], 1);
    const int64_t position = piece.first + tokens[i];
    if (piece.exact) {
      out[i] = attend(
          q, tap.k, tap.v, [](int64_t) { return true; }, position);
    } else if (held) {
      const auto rows = [&](const SeenRows& side) {
        return dense_rows(side.values.data(), position + 1, tap.k.heads, tap.k.dim);
      };
      const auto seen = [&](int64_t t) {
        const size_t row = static_cast<size_t>(t);
        return k.seen[row] && v.seen[row];
      };
      out[i] = attend(q, rows(k), rows(v), seen, position);
    } else {
      out[i].resize(static_cast<size_t>(q.heads * q.dim));
      const Span span{.seq = layer.seq, .first = position, .count = 1};
      cache.attend(q, {&span, 1}, dense_rows(out[i].data(), 1, q.heads, q.dim));
    }
  }
  return out;
}

void Shadow::tap(const Piece& piece, const model::LayerTap& tap) {
  const Layer& layer = *std::find_if(layers_.begin(), layers_.end(),
                                     [&](const Layer& one) { return one.layer == tap.layer; });
  LayerCache& cache = *layer.cache;
  const Span span{layer.seq, piece.first, piece.count, piece.exact};
  cache.append(cache.traits().keys == KeySpace::kRotated ? tap.k : tap.k_pre, tap.v, {&span, 1});
  const gen::Source source{.seed = settings_.shadow.seed,
                           .tensor = static_cast<uint32_t>(tap.layer),
                           .purpose = static_cast<uint32_t>(2 + piece.first)};
  const std::set<int64_t> sampled = drawn(source, kQueries, piece.count, {piece.count - 1});
  const std::vector<int64_t> tokens(sampled.begin(), sampled.end());
  const auto expected = attention(layer, piece, tap, tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    count_.attention += int64_t{tap.out.heads} * tap.out.dim;
    const ConstRows rows = dense_rows(expected[i].data(), 1, tap.out.heads, tap.out.dim);
    if (const auto place = first_place(tap.layer, "out", rows, tap.out.slice(tokens[i], 1),
                                       piece.first + tokens[i]))
      found("E2", *place);
  }
  cache.settle(layer.seq);
}

void Shadow::append_context(const std::vector<ContextRows>& context) {
  for (const Layer& layer : layers_) {
    const ContextRows& rows = context[static_cast<size_t>(layer.layer)];
    const LayerShape& shape = layer.cache->config().shape;
    const int64_t tokens = std::ssize(rows.k) / (int64_t{shape.kv_heads} * shape.head_dim);
    const auto view = [&](const std::vector<float>& values) {
      return dense_rows(values.data(), tokens, shape.kv_heads, shape.head_dim);
    };
    const Span span{layer.seq, 0, tokens, true};
    layer.cache->append(view(rows.k), view(rows.v), {&span, 1});
    layer.cache->settle(layer.seq);
  }
}

void Shadow::finish(const model::Transformer& engine, SeqId seq) {
  const auto is_decoded = [](const std::string& tensor) { return tensor.ends_with(".decoded"); };
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
