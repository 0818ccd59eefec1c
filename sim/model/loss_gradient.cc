#include "sim/model/loss_gradient.h"

#include <omp.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "sim/model/backward_attention.h"
#include "sim/model/backward_ops.h"
#include "sim/model/buffer.h"
#include "sim/model/dense.h"
#include "sim/model/weights.h"
#include "sim/num/rope.h"

namespace kvx::model {
namespace {

// The other way through a layer's matrices.
struct LayerTransposed {
  num::PackedWeights q, k, v, o, gate, up, down;
};

// What the forward pass leaves of a layer.
struct LayerKept {
  Buffer input;         // [T][hidden]
  Buffer q, k, v, out;  // q, k after rotation; out before the output projection
  Buffer k_pre;         // before rotation
};

void keep(const float* from, int64_t count, Buffer& to) {
  std::copy_n(from, count, to.reserve(count));
}

int64_t floats(ConstRows x) { return x.tokens * x.heads * x.dim; }

}  // namespace

struct CpuLossGradient::Impl : Dense {
  const Model::Impl& model;
  const ModelConfig& c;
  Engine engine;
  std::vector<LayerTransposed> back;
  num::PackedWeights head;  // [hidden][vocab]
  std::vector<LayerKept> kept;
  AttentionBackward attention;
  int64_t rows = 0;
  Buffer x, h, dx, dh, term, gate, up, logits, sin, minus_sin, cos;
  Buffer dq, dk, dv, dk_pre, dout, raw;

  Impl(const Model& m, const CacheFactory& exact, int threads_in);

  // to [rows][w.n] (+)= from [rows][w.k] w^T
  void product(const float* from, const num::PackedWeights& w, float* to) {
    pack(from, rows, w.k());
    multiply(w, to);
  }
  void add_product(const float* from, const num::PackedWeights& w, float* to) {
    product(from, w, term.reserve(rows * w.n()));
    add(to, term.get(), rows, w.n());
  }

  // dx from dy through a norm of `count` rows whose input is `in`; dx may be dy.
  void norm_backward(const float* in, int64_t count, std::span<const float> weight, const float* dy,
                     float* to) const {
    const size_t width = weight.size();
    parallel_for(threads, count, [&](int64_t i) {
      const int64_t at = i * static_cast<int64_t>(width);
      rms_norm_backward({in + at, width}, weight, c.rms_eps, {dy + at, width}, {to + at, width});
    });
  }

  double forward(std::span<const int32_t> tokens);
  void rotary_tables();
  void middle(int layer);
  void ffn_backward(int layer);
  void attention_backward(int layer, const std::function<void(const KvGradient&)>& tap);
  void heads_norm_backward(int layer, const num::PackedWeights& w, std::span<const float> bias,
                           std::span<const float> weight, int64_t heads, float* dy);
  void unrotate(float* y, int64_t heads) const;
};

CpuLossGradient::Impl::Impl(const Model& m, const CacheFactory& exact, int threads_in)
    : Dense{threads_in, {}},
      model(m.impl()),
      c(model.config),
      engine(m, exact, CacheMode::kStreamed, threads_in),
      back(model.layers.size()),
      kept(model.layers.size()),
      attention(threads_in) {
  parallel_for(threads, static_cast<int64_t>(back.size()) + 1, [&](int64_t i) {
    if (i == 0) {
      head = model.head().transposed();
      return;
    }
    const LayerWeights& w = model.layers[static_cast<size_t>(i - 1)];
    back[static_cast<size_t>(i - 1)] = {w.q.transposed(),   w.k.transposed(),    w.v.transposed(),
                                        w.o.transposed(),   w.gate.transposed(), w.up.transposed(),
                                        w.down.transposed()};
  });
}

// The forward pass: fills `kept` and dh = dL/d(output of the final norm) [rows][hidden].
double CpuLossGradient::Impl::forward(std::span<const int32_t> tokens) {
  engine.set_tap([&](const LayerTap& tap) {
    LayerKept& layer = kept[static_cast<size_t>(tap.layer)];
    keep(tap.input, rows * c.hidden, layer.input);
    keep(tap.q.data, floats(tap.q), layer.q);
    keep(tap.k.data, floats(tap.k), layer.k);
    keep(tap.v.data, floats(tap.v), layer.v);
    keep(tap.k_pre.data, floats(tap.k_pre), layer.k_pre);
    keep(tap.out.data, floats(tap.out), layer.out);
  });
  float* const grad = dh.reserve(rows * c.hidden);
  std::fill_n(grad, rows * c.hidden, 0.0f);
  const float scale = 1.0f / static_cast<float>(rows - 1);
  const size_t vocab = static_cast<size_t>(c.vocab);
  std::vector<double> nll(static_cast<size_t>(rows - 1));
  std::vector<int64_t> predicting(nll.size());
  std::iota(predicting.begin(), predicting.end(), 0);
  const Chunk chunk{.seq = engine.open(), .tokens = tokens};
  engine.forward(
      {&chunk, 1},
      [&](int64_t first, int64_t count, const float* z) {
        keep(z, count * c.vocab, logits);
        parallel_for(threads, count, [&](int64_t i) {
          const size_t row = static_cast<size_t>(first + i);
          nll[row] = nll_backward({logits.get() + i * c.vocab, vocab}, tokens[row + 1], scale);
        });
        pack(logits.get(), count, c.vocab);
        multiply(head, grad + first * c.hidden);
      },
      predicting);
  engine.close(chunk.seq);
  return std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
}

void CpuLossGradient::Impl::rotary_tables() {
  const int64_t half = static_cast<int64_t>(model.rope_steps.size());
  const size_t width = model.rope_steps.size();
  for (Buffer* table : {&sin, &minus_sin, &cos}) table->reserve(rows * half);
  parallel_for(threads, rows, [&](int64_t i) {
    num::rope_table(model.rope_steps, i, {sin.get() + i * half, width},
                    {cos.get() + i * half, width});
    for (int64_t j = i * half; j < (i + 1) * half; ++j) minus_sin.get()[j] = -sin.get()[j];
  });
}

// A rotation's transpose turns the other way.
void CpuLossGradient::Impl::unrotate(float* y, int64_t heads) const {
  const int64_t half = static_cast<int64_t>(model.rope_steps.size());
  const size_t width = model.rope_steps.size();
  parallel_for(threads, rows, [&](int64_t i) {
    for (int64_t head_index = 0; head_index < heads; ++head_index)
      num::rope_rotate({y + (i * heads + head_index) * 2 * half, 2 * width},
                       {minus_sin.get() + i * half, width}, {cos.get() + i * half, width});
  });
}

// Anew: x = what enters the second norm, h = what leaves it, gate and up.
void CpuLossGradient::Impl::middle(int layer) {
  const LayerWeights& w = model.layers[static_cast<size_t>(layer)];
  const LayerKept& was = kept[static_cast<size_t>(layer)];
  keep(was.input.get(), rows * c.hidden, x);
  pack(was.out.get(), rows, c.heads * c.head_dim);
  project(w.o, w.o_bias, h.reserve(rows * c.hidden));
  add(x.get(), h.get(), rows, c.hidden);
  norm(x.get(), rows, w.ffn_norm, c.rms_eps, h.get());
  pack(h.get(), rows, c.hidden);
  multiply(w.gate, gate.reserve(rows * c.ffn));
  multiply(w.up, up.reserve(rows * c.ffn));
}

// dx = dL/d(output of the layer) becomes dL/d(what enters the second norm).
void CpuLossGradient::Impl::ffn_backward(int layer) {
  const LayerWeights& w = model.layers[static_cast<size_t>(layer)];
  const LayerTransposed& t = back[static_cast<size_t>(layer)];
  const size_t ffn = static_cast<size_t>(c.ffn);
  product(dx.get(), t.down, term.reserve(rows * c.ffn));
  parallel_for(threads, rows, [&](int64_t i) {
    const int64_t at = i * c.ffn;
    swiglu_backward({gate.get() + at, ffn}, {up.get() + at, ffn}, {term.get() + at, ffn});
  });
  product(gate.get(), t.gate, dh.get());
  add_product(up.get(), t.up, dh.get());
  norm_backward(x.get(), rows, w.ffn_norm, dh.get(), dh.get());
  add(dx.get(), dh.get(), rows, c.hidden);
}

// dy = dL/d(normed heads) becomes dL/d(projection w + bias); h is the layer's normed input.
void CpuLossGradient::Impl::heads_norm_backward(int layer, const num::PackedWeights& w,
                                                std::span<const float> bias,
                                                std::span<const float> weight, int64_t heads,
                                                float* dy) {
  const LayerWeights& of = model.layers[static_cast<size_t>(layer)];
  norm(kept[static_cast<size_t>(layer)].input.get(), rows, of.attention_norm, c.rms_eps, h.get());
  pack(h.get(), rows, c.hidden);
  project(w, bias, raw.reserve(rows * w.n()));
  norm_backward(raw.get(), rows * heads, weight, dy, dy);
}

// dx = dL/d(what enters the second norm) becomes dL/d(input of the layer).
void CpuLossGradient::Impl::attention_backward(int layer,
                                               const std::function<void(const KvGradient&)>& tap) {
  const LayerWeights& w = model.layers[static_cast<size_t>(layer)];
  const LayerTransposed& t = back[static_cast<size_t>(layer)];
  const LayerKept& was = kept[static_cast<size_t>(layer)];
  const int heads = static_cast<int>(c.heads), kv_heads = static_cast<int>(c.kv_heads);
  const int dim = static_cast<int>(c.head_dim);
  const int64_t q_floats = rows * heads * dim, kv_floats = rows * kv_heads * dim;
  const auto q_rows = [&](float* data) { return dense_rows(data, rows, heads, dim); };
  const auto kv_rows = [&](float* data) { return dense_rows(data, rows, kv_heads, dim); };

  product(dx.get(), t.o, dout.reserve(q_floats));
  attention.run(q_rows(was.q.get()), kv_rows(was.k.get()), kv_rows(was.v.get()), q_rows(dout.get()),
                q_rows(dq.reserve(q_floats)), kv_rows(dk.reserve(kv_floats)),
                kv_rows(dv.reserve(kv_floats)));
  keep(dk.get(), kv_floats, dk_pre);
  unrotate(dk_pre.get(), kv_heads);
  tap({layer, kv_rows(was.k_pre.get()), kv_rows(was.k.get()), kv_rows(was.v.get()),
       kv_rows(dk_pre.get()), kv_rows(dk.get()), kv_rows(dv.get())});
  if (layer == 0) return;

  unrotate(dq.get(), heads);
  if (c.qk_norm) {
    heads_norm_backward(layer, w.q, w.q_bias, w.q_norm, heads, dq.get());
    heads_norm_backward(layer, w.k, w.k_bias, w.k_norm, kv_heads, dk_pre.get());
  }
  product(dq.get(), t.q, dh.get());
  add_product(dk_pre.get(), t.k, dh.get());
  add_product(dv.get(), t.v, dh.get());
  norm_backward(was.input.get(), rows, w.attention_norm, dh.get(), dh.get());
  add(dx.get(), dh.get(), rows, c.hidden);
}

CpuLossGradient::CpuLossGradient(const Model& model, const CacheFactory& exact, int threads)
    : impl_(std::make_unique<Impl>(model, exact, threads > 0 ? threads : omp_get_max_threads())) {}

CpuLossGradient::~CpuLossGradient() = default;

double CpuLossGradient::run(std::span<const int32_t> tokens,
                            const std::function<void(const KvGradient&)>& tap) {
  if (tokens.size() < 2) throw std::logic_error("a window of one token has no loss");
  Impl& m = *impl_;
  m.rows = std::ssize(tokens);
  const int64_t hidden = m.c.hidden;
  const double loss = m.forward(tokens);
  m.rotary_tables();
  const int last = static_cast<int>(m.c.layers) - 1;
  m.middle(last);
  // The layer's output, which the final norm read.
  const size_t ffn = static_cast<size_t>(m.c.ffn);
  m.term.reserve(m.rows * std::max(m.c.ffn, hidden));
  parallel_for(m.threads, m.rows, [&](int64_t i) {
    const int64_t at = i * m.c.ffn;
    num::swiglu({m.gate.get() + at, ffn}, {m.up.get() + at, ffn}, {m.term.get() + at, ffn});
  });
  m.product(m.term.get(), m.model.layers.back().down, m.h.get());
  m.add(m.h.get(), m.x.get(), m.rows, hidden);
  m.norm_backward(m.h.get(), m.rows, m.model.final_norm, m.dh.get(), m.dx.reserve(m.rows * hidden));
  for (int layer = last; layer >= 0; --layer) {
    if (layer != last) m.middle(layer);
    m.ffn_backward(layer);
    m.attention_backward(layer, tap);
  }
  return loss;
}

}  // namespace kvx::model
