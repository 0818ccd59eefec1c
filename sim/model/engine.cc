#include "sim/model/engine.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <exception>
#include <stdexcept>

#include "sim/api/error.h"
#include "sim/model/buffer.h"
#include "sim/model/dense.h"
#include "sim/model/engine_attention.h"
#include "sim/model/parallel.h"
#include "sim/model/weights.h"
#include "sim/num/environment.h"
#include "sim/num/reduce.h"
#include "sim/num/rope.h"

namespace kvx::model {
namespace {

// A library may change the rounding mode or flush subnormals, thread by thread.
void check_floating_point_state(int threads) {
  std::vector<std::exception_ptr> failures(static_cast<size_t>(threads));
#pragma omp parallel num_threads(threads)
  try {
    num::require_ieee_environment();
  } catch (...) {
    failures[static_cast<size_t>(omp_get_thread_num())] = std::current_exception();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace

const char* cache_mode_name(CacheMode mode) {
  static constexpr std::array<const char*, 4> kNames = {"all", "streamed", "prefill-exact",
                                                        "context-exact"};
  return kNames[static_cast<size_t>(mode)];
}

struct Engine::Impl : Dense {
  const Model::Impl& model;
  CacheMode mode;
  std::vector<std::unique_ptr<LayerCache>> caches;
  AttentionPass attention;
  std::function<void(const LayerTap&)> tap;
  std::vector<int> tapped;  // layers; empty: all

  bool taps(int layer) const {
    return tap && (tapped.empty() || std::ranges::find(tapped, layer) != tapped.end());
  }

  Buffer x, normed, q, k, v, attended, gate, up, sin, cos, q_pre, k_pre, logits;

  Impl(const Model& m, CacheMode mode_in, int threads_in, NonFinite nonfinite)
      : Dense{threads_in, {}},
        model(m.impl()),
        mode(mode_in),
        attention(mode_in, nonfinite, threads_in) {}

  void embed(std::span<const Chunk> chunks, int64_t rows);
  void rotary_tables(std::span<const PassChunk> chunks, int64_t rows);
  void run_layer(int layer, std::span<const PassChunk> chunks, int64_t rows);
};

void Engine::Impl::embed(std::span<const Chunk> chunks, int64_t rows) {
  const int64_t hidden = model.config.hidden;
  float* out = x.reserve(rows * hidden);
  for (const Chunk& chunk : chunks) {
    for (const int32_t token : chunk.tokens) {
      if (token < 0 || token >= model.config.vocab)
        throw environment_error("token id " + std::to_string(token) +
                                " is outside the model's vocabulary of " +
                                std::to_string(model.config.vocab));
      model.embedding.row(token, {out, static_cast<size_t>(hidden)});
      out += hidden;
    }
  }
}

void Engine::Impl::rotary_tables(std::span<const PassChunk> chunks, int64_t rows) {
  const size_t half = model.rope_steps.size();
  sin.reserve(rows * static_cast<int64_t>(half));
  cos.reserve(rows * static_cast<int64_t>(half));
  for (const PassChunk& chunk : chunks) {
    parallel_for(threads, chunk.span.count, [&](int64_t i) {
      const int64_t at = (chunk.row + i) * static_cast<int64_t>(half);
      num::rope_table(model.rope_steps, chunk.span.first + i, {sin.get() + at, half},
                      {cos.get() + at, half});
    });
  }
}

void Engine::Impl::run_layer(int layer, std::span<const PassChunk> chunks, int64_t rows) {
  const ModelConfig& c = model.config;
  const LayerWeights& w = model.layers[static_cast<size_t>(layer)];
  LayerCache& cache = *caches[static_cast<size_t>(layer)];
  const int heads = static_cast<int>(c.heads), kv_heads = static_cast<int>(c.kv_heads);
  const int dim = static_cast<int>(c.head_dim);
  const int64_t half = dim / 2;

  float* h = normed.reserve(rows * c.hidden);
  norm(x.get(), rows, w.attention_norm, c.rms_eps, h);
  pack(h, rows, c.hidden);
  project(w.q, w.q_bias, q.reserve(rows * c.heads * dim));
  project(w.k, w.k_bias, k.reserve(rows * c.kv_heads * dim));
  project(w.v, w.v_bias, v.reserve(rows * c.kv_heads * dim));
  if (c.qk_norm) {
    norm(q.get(), rows * c.heads, w.q_norm, c.rms_eps, q.get());
    norm(k.get(), rows * c.kv_heads, w.k_norm, c.rms_eps, k.get());
  }

  const bool pre_rope = cache.traits().keys == KeySpace::kPreRope;
  if (taps(layer) || pre_rope) {
    std::copy_n(q.get(), rows * c.heads * dim, q_pre.reserve(rows * c.heads * dim));
    std::copy_n(k.get(), rows * c.kv_heads * dim, k_pre.reserve(rows * c.kv_heads * dim));
  }
  const size_t width = static_cast<size_t>(dim);
  parallel_for(threads, rows, [&](int64_t i) {
    const std::span<const float> s(sin.get() + i * half, static_cast<size_t>(half));
    const std::span<const float> co(cos.get() + i * half, static_cast<size_t>(half));
    for (int64_t head = 0; head < heads; ++head)
      num::rope_rotate({q.get() + (i * heads + head) * dim, width}, s, co);
    for (int64_t head = 0; head < kv_heads; ++head)
      num::rope_rotate({k.get() + (i * kv_heads + head) * dim, width}, s, co);
  });

  const ConstRows q_rows = dense_rows<const float>(q.get(), rows, heads, dim);
  const ConstRows k_rows = dense_rows<const float>(k.get(), rows, kv_heads, dim);
  const ConstRows v_rows = dense_rows<const float>(v.get(), rows, kv_heads, dim);
  std::vector<Span> spans;
  for (const PassChunk& chunk : chunks) spans.push_back(chunk.span);
  cache.append(pre_rope ? dense_rows<const float>(k_pre.get(), rows, kv_heads, dim) : k_rows,
               v_rows, spans);
  const Rows out_rows = dense_rows(attended.reserve(rows * c.heads * dim), rows, heads, dim);
  attention.run(cache, chunks, q_rows, k_rows, v_rows, out_rows);
  if (taps(layer)) {
    tap({layer, q_rows, k_rows, v_rows, dense_rows<const float>(q_pre.get(), rows, heads, dim),
         dense_rows<const float>(k_pre.get(), rows, kv_heads, dim), out_rows, x.get()});
  }
  for (const Span& span : spans) cache.settle(span.seq);

  pack(attended.get(), rows, c.heads * dim);
  project(w.o, w.o_bias, h);
  add(x.get(), h, rows, c.hidden);

  norm(x.get(), rows, w.ffn_norm, c.rms_eps, h);
  pack(h, rows, c.hidden);
  multiply(w.gate, gate.reserve(rows * c.ffn));
  multiply(w.up, up.reserve(rows * c.ffn));
  const size_t ffn = static_cast<size_t>(c.ffn);
  parallel_for(threads, rows, [&](int64_t i) {
    float* g = gate.get() + i * c.ffn;
    num::swiglu({g, ffn}, {up.get() + i * c.ffn, ffn}, {g, ffn});
  });
  pack(gate.get(), rows, c.ffn);
  multiply(w.down, h);
  add(x.get(), h, rows, c.hidden);
}

Engine::Engine(const Model& model, const CacheFactory& factory, CacheMode mode, int threads,
               NonFinite nonfinite, Arithmetic arithmetic)
    : impl_(std::make_unique<Impl>(model, mode, threads > 0 ? threads : omp_get_max_threads(),
                                   nonfinite)) {
  const ModelConfig& c = model.config();
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    impl_->caches.push_back(
        factory({.shape = {.layer = static_cast<int>(layer),
                           .kv_heads = static_cast<int>(c.kv_heads),
                           .head_dim = static_cast<int>(c.head_dim)},
                 .windows = mode == CacheMode::kAll ? Windows::kNone : Windows::kKept,
                 .nonfinite = nonfinite,
                 .arithmetic = arithmetic,
                 .rope_steps = impl_->model.rope_steps}));
  }
}

Engine::~Engine() = default;

SeqId Engine::open() {
  SeqId seq = 0;
  for (const auto& cache : impl_->caches) seq = cache->open();
  return seq;
}

SeqId Engine::fork(SeqId from) {
  SeqId seq = 0;
  for (const auto& cache : impl_->caches) seq = cache->fork(from);
  return seq;
}

void Engine::close(SeqId seq) {
  impl_->attention.forget(seq);
  for (const auto& cache : impl_->caches) cache->close(seq);
}

int64_t Engine::length(SeqId seq) const { return impl_->caches.front()->length(seq); }

const LayerCache& Engine::cache(int layer) const {
  return *impl_->caches.at(static_cast<size_t>(layer));
}

const ModelConfig& Engine::config() const { return impl_->model.config; }

void Engine::set_tap(std::function<void(const LayerTap&)> tap, std::span<const int> layers) {
  impl_->tap = std::move(tap);
  impl_->tapped.assign(layers.begin(), layers.end());
}

std::vector<int32_t> Engine::greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                                    int64_t steps) {
  const size_t vocab = static_cast<size_t>(impl_->model.config.vocab);
  std::vector<int32_t> fed(tokens.begin(), tokens.end()), choices;
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < seqs.size(); ++i)
      chunks.push_back({.seq = seqs[i], .tokens = std::span(fed).subspan(i, 1)});
    std::vector<int32_t> next;
    forward(chunks, [&](int64_t, int64_t count, const float* logits) {
      for (size_t row = 0; row < static_cast<size_t>(count); ++row)
        next.push_back(static_cast<int32_t>(num::argmax({logits + row * vocab, vocab})));
    });
    fed = std::move(next);
    choices.insert(choices.end(), fed.begin(), fed.end());
  }
  return choices;
}

void Engine::forward(std::span<const Chunk> chunks, const LogitsSink& sink,
                     std::span<const int64_t> want) {
  Impl& e = *impl_;
  const ModelConfig& c = e.model.config;
  check_floating_point_state(e.threads);
  std::vector<PassChunk> pass;
  int64_t rows = 0;
  for (const Chunk& chunk : chunks) {
    const int64_t first = length(chunk.seq);
    const int64_t count = static_cast<int64_t>(chunk.tokens.size());
    if ((chunk.exact || e.mode == CacheMode::kAll) && first != 0)
      throw std::logic_error("a chunk in mode all or with exact reads must start its sequence");
    if (first + count > c.max_positions)
      throw environment_error("position " + std::to_string(first + count - 1) +
                              " is beyond the model's " + std::to_string(c.max_positions) +
                              " positions");
    require_in_window(c, first + count);
    pass.push_back({{chunk.seq, first, count, chunk.prompt_end}, rows, chunk.exact});
    rows += count;
  }
  e.embed(chunks, rows);
  e.rotary_tables(pass, rows);
  for (int64_t layer = 0; layer < c.layers; ++layer)
    e.run_layer(static_cast<int>(layer), pass, rows);

  constexpr int64_t kLogitRows =
      192;  // handed to the sink at a time: one row task of the matrix product
  const int64_t wanted = want.empty() ? rows : static_cast<int64_t>(want.size());
  const size_t hidden = static_cast<size_t>(c.hidden);
  float* h = e.normed.reserve(rows * c.hidden);
  float* logits = e.logits.reserve(std::min(kLogitRows, wanted) * c.vocab);
  for (int64_t first = 0; first < wanted; first += kLogitRows) {
    const int64_t count = std::min(kLogitRows, wanted - first);
    parallel_for(e.threads, count, [&](int64_t i) {
      const int64_t row = want.empty() ? first + i : want[static_cast<size_t>(first + i)];
      num::rms_norm({e.x.get() + row * c.hidden, hidden}, e.model.final_norm, c.rms_eps,
                    {h + i * c.hidden, hidden});
    });
    project(h, count, logits);
    sink(first, count, logits);
  }
}

void Engine::append(SeqId seq, int layer, ConstRows k, ConstRows v) {
  LayerCache& cache = *impl_->caches.at(static_cast<size_t>(layer));
  const Span span{seq, cache.length(seq), k.tokens, true};
  cache.append(k, v, {&span, 1});
  cache.settle(seq);
}

const float* Engine::hidden() const { return impl_->normed.get(); }

void Engine::project(const float* hidden, int64_t count, float* logits) {
  impl_->pack(hidden, count, impl_->model.config.hidden);
  impl_->multiply(impl_->model.head(), logits);
}

}  // namespace kvx::model
