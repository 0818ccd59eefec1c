// The layers of a pass as they are enqueued, in the order of the CPU engine.
#include <algorithm>

#include "gpu/engine/engine.h"
#include "gpu/engine/refusals.h"

namespace kvx::gpu {

using model::ModelConfig;

void Engine::multiply(const Projection& w, const float* x, int64_t x_stride, int64_t rows, float* y,
                      bool add) {
  for (const Projection::Part& part : w.parts) {
    float* const to = y + part.column;
    matmul({.x = x,
            .x_stride = x_stride,
            .w = &part.weights,
            .y = to,
            .y_stride = w.outputs,
            .m = rows,
            .bias = w.bias.get() == nullptr ? nullptr : w.bias.get() + part.column,
            .residual = add ? to : nullptr,
            .scratch = scratch_.get()},
           stream_);
  }
}

void Engine::enqueue_trunk(const Pass& pass, const HostPass* tapped) {
  const ModelConfig& c = config();
  check(cudaMemsetAsync(notes_.get(), 0xFF, static_cast<size_t>(notes_.bytes()), stream_), "notes");
  rotary_table(pass, model_->rope_steps(), static_cast<int32_t>(c.head_dim / 2), buffers_.rotary(),
               stream_);
  gather_rows(model_->embedding(), buffers_.tokens(), pass.rows, buffers_.x(), stream_);
  for (int layer = 0; layer < pool_.layers(); ++layer)
    enqueue_layer(layer, pass, tapped != nullptr && taps(layer) ? tapped : nullptr);
}

void Engine::enqueue_layer(int layer, const Pass& pass, const HostPass* tapped) {
  const ModelConfig& c = config();
  const DeviceLayer& w = model_->layers()[static_cast<size_t>(layer)];
  const SchemeKernels& kernels = pool_.kernels(layer);
  const int64_t rows = pass.rows, q_width = c.heads * c.head_dim;
  const auto norm = [&](const float* weight) {
    rms_norm({.x = buffers_.x(),
              .y = buffers_.normed(),
              .weight = weight,
              .width = c.hidden,
              .eps = c.rms_eps,
              .count = rows,
              .follows_kernel = true},
             stream_);
  };
  norm(w.attention_norm.get());
  multiply(w.qkv, buffers_.normed(), c.hidden, rows, buffers_.qkv(), false);
  HeadArgs heads{.qkv = buffers_.qkv(),
                 .rows = rows,
                 .heads = static_cast<int32_t>(c.heads),
                 .kv_heads = static_cast<int32_t>(c.kv_heads),
                 .dim = static_cast<int32_t>(c.head_dim),
                 .q_norm = w.q_norm.get(),
                 .k_norm = w.k_norm.get(),
                 .eps = c.rms_eps,
                 .rotary = buffers_.rotary(),
                 .q = buffers_.q(),
                 .k = buffers_.k(),
                 .v = buffers_.v(),
                 .k_pre = buffers_.k_pre(),
                 .stores_unrotated = stores_unrotated(),
                 .note = settings_.nonfinite == NonFinite::kRefuse ? notes_.get() + layer : nullptr,
                 .input = kernels.traits().input};
  if (tapped != nullptr) {
    heads.q_pre = unrotated_.reserve(rows * (c.heads + c.kv_heads) * c.head_dim);
    if (heads.k_pre == nullptr) heads.k_pre = heads.q_pre + rows * q_width;
  }
  split_heads(heads, stream_);

  AppendArgs append{.k = {.data = stores_unrotated() ? buffers_.k_pre() : buffers_.k()},
                    .v = {.data = buffers_.v()},
                    .pass = pass,
                    .view = {pool_.view(layer, Side::kK), pool_.view(layer, Side::kV)}};
  if (settings_.arithmetic == Arithmetic::kFixed) {
    append.scale_key = notes_.get() + layer;
    for (const Side side : {Side::kK, Side::kV})
      append.scale_note[static_cast<int>(side)] = scale_note(side, c, rows);
  }
  kernels.append(append, stream_);
  kernels.attend({.q = buffers_.q(),
                  .out = buffers_.attended(),
                  .q_heads = static_cast<int32_t>(c.heads),
                  .k = {.data = buffers_.k()},
                  .v = append.v,
                  .pass = pass,
                  .view = {append.view[0], append.view[1]},
                  .scratch = scratch_.get()},
                 stream_);
  if (tapped != nullptr) give_tap(layer, *tapped);
  kernels.settle(append, stream_);

  multiply(w.o, buffers_.attended(), q_width, rows, buffers_.x(), true);
  norm(w.ffn_norm.get());
  multiply(w.gate_up, buffers_.normed(), c.hidden, rows, buffers_.gate_up(), false);
  swiglu(buffers_.gate_up(), rows, c.ffn, stream_);
  multiply(w.down, buffers_.gate_up(), 2 * c.ffn, rows, buffers_.x(), true);
}

void Engine::enqueue_head(int slot, int64_t first, int64_t count, const int32_t* wanted) {
  const ModelConfig& c = config();
  rms_norm({.x = buffers_.x(),
            .y = logits_.hidden(slot),
            .weight = model_->final_norm(),
            .width = c.hidden,
            .eps = c.rms_eps,
            .count = count,
            .first = first,
            .pick = wanted},
           stream_);
  multiply(model_->head(), logits_.hidden(slot), c.hidden, count, logits_.logits(slot), false);
}

bool Engine::taps(int layer) const {
  return tap_ && (tapped_.empty() || std::ranges::find(tapped_, layer) != tapped_.end());
}

void Engine::give_tap(int layer, const HostPass& pass) {
  const ModelConfig& c = config();
  const int64_t rows = pass.rows(), q_floats = rows * c.heads * c.head_dim;
  const int64_t kv_floats = rows * c.kv_heads * c.head_dim;
  float* to = tap_rows_.reserve(3 * (q_floats + kv_floats));
  const auto fetch = [&](const float* from, int64_t heads) {
    const int64_t floats = rows * heads * c.head_dim;
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(floats) * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_),
          "tap to the host");
    const float* const at = std::exchange(to, to + floats);
    return dense_rows(at, rows, static_cast<int>(heads), static_cast<int>(c.head_dim));
  };
  const model::LayerTap tap{
      .layer = layer,
      .q = fetch(buffers_.q(), c.heads),
      .k = fetch(buffers_.k(), c.kv_heads),
      .v = fetch(buffers_.v(), c.kv_heads),
      .q_pre = fetch(unrotated_.get(), c.heads),
      .k_pre =
          fetch(stores_unrotated() ? buffers_.k_pre() : unrotated_.get() + q_floats, c.kv_heads),
      .out = fetch(buffers_.attended(), c.heads)};
  notes_.download({host_notes_.get(), static_cast<size_t>(host_notes_.count())}, 0, stream_);
  if (settings_.nonfinite == NonFinite::kRefuse) check_notes(pass);
  tap_(tap);
}

}  // namespace kvx::gpu
