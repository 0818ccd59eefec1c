#include "gpu/gradient/loss_gradient.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "gpu/engine/refusals.h"
#include "gpu/gradient/attention_backward.h"
#include "gpu/gradient/backward_ops.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

using model::KvGradient;
using model::ModelConfig;

std::string mib(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

// The floats of the workspace, once it is known that it fits beside the transposed matrices.
int64_t planned_floats(const DeviceModel& model, int64_t tokens) {
  constexpr int64_t kOthers = int64_t{64} << 20;  // kernels that are still to be loaded
  const int64_t floats = GradientWorkspace(model, tokens, nullptr).floats;
  const int64_t needed = floats * int64_t{sizeof(float)} + TransposedModel::bytes(model) + kOthers;
  const int64_t free = device_memory().first;
  if (needed <= free) return floats;
  throw environment_error("CUDA: device memory: the backward pass over windows of " +
                          std::to_string(tokens) + " tokens needs " + mib(needed) + ", " +
                          mib(free) + " are free");
}

std::unique_ptr<SchemeKernels> exact_kernels(const DeviceModel& model) {
  const ModelConfig& c = model.config();
  return make_kernels(Descriptor::parse("fp:f32"),
                      {.shape = {.layer = 0,
                                 .kv_heads = static_cast<int>(c.kv_heads),
                                 .head_dim = static_cast<int>(c.head_dim)},
                       .rope_steps = model.host_rope_steps()});
}

}  // namespace

LossGradient::LossGradient(std::shared_ptr<const DeviceModel> model, int64_t tokens)
    : model_(std::move(model)),
      memory_(planned_floats(*model_, tokens)),
      at_(*model_, tokens, memory_.get()),
      transposed_(*model_),
      kernels_(exact_kernels(*model_)),
      tokens_(tokens),
      span_(1),
      notes_(config().layers) {
  for (Given& given : given_) given.rows = PinnedArray<float>(6 * tokens * kv_width());
}

LossGradient::~LossGradient() { cudaStreamSynchronize(stream_); }

void LossGradient::back(const DeviceWeights& w, const float* x, int64_t x_stride, float* y,
                        bool add) {
  matmul({.x = x,
          .x_stride = x_stride,
          .w = &w,
          .y = y,
          .y_stride = w.n(),
          .m = rows_,
          .residual = add ? y : nullptr,
          .scratch = at_.scratch},
         stream_);
}

void LossGradient::norm_back(const float* x, const float* weight, const float* dy,
                             const float* residual, float* dx) {
  norm_backward({.x = x,
                 .x_stride = config().hidden,
                 .weight = weight,
                 .width = config().hidden,
                 .eps = config().rms_eps,
                 .dy = dy,
                 .rows = rows_,
                 .residual = residual,
                 .dx = dx},
                stream_);
}

void LossGradient::ffn_back(int64_t layer) {
  const ModelConfig& c = config();
  const TransposedLayer& t = transposed_.layers[static_cast<size_t>(layer)];
  back(t.down, at_.dx, c.hidden, at_.narrow);
  swiglu_backward(at_.wide, at_.narrow, rows_, c.ffn, stream_);
  back(t.gate, at_.wide, 2 * c.ffn, at_.dh);
  back(t.up, at_.wide + c.ffn, 2 * c.ffn, at_.dh, true);
  norm_back(at_.mid, weights(layer).ffn_norm.get(), at_.dh, at_.dx, at_.dx);
}

void LossGradient::attention_back(int64_t layer) {
  const ModelConfig& c = config();
  const TransposedLayer& t = transposed_.layers[static_cast<size_t>(layer)];
  const Kept kept = at_.kept(c, layer);
  const auto heads = static_cast<int32_t>(c.heads), kv_heads = static_cast<int32_t>(c.kv_heads);
  const auto dim = static_cast<int32_t>(c.head_dim);
  back(t.o, at_.dx, c.hidden, at_.narrow);
  attention_backward({.q = kept.q,
                      .dout = at_.narrow,
                      .k = kept.k,
                      .v = kept.v,
                      .dq = at_.dq,
                      .dk = at_.dk_heads,
                      .dv = at_.dv_heads,
                      .tokens = static_cast<int32_t>(rows_),
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .dim = dim,
                      .scratch = at_.attention,
                      .band = at_.band},
                     stream_);
  sum_groups(at_.dk_heads, at_.dk, rows_, heads, kv_heads, dim, stream_);
  sum_groups(at_.dv_heads, at_.dv, rows_, heads, kv_heads, dim, stream_);
  unrotate(at_.dk, at_.dk_pre, at_.rotary, rows_, kv_heads, dim, stream_);
  copy_to_host(layer);
  if (layer == 0) return;

  unrotate(at_.dq, at_.dq, at_.rotary, rows_, heads, dim, stream_);
  if (c.qk_norm) heads_norm_back(layer);
  back(t.q, at_.dq, q_width(), at_.dh);
  back(t.k, at_.dk_pre, kv_width(), at_.dh, true);
  back(t.v, at_.dv, kv_width(), at_.dh, true);
  norm_back(kept.input, weights(layer).attention_norm.get(), at_.dh, at_.dx, at_.dx);
}

void LossGradient::heads_norm_back(int64_t layer) {
  const ModelConfig& c = config();
  const DeviceLayer& w = weights(layer);
  norm(at_.input(c, layer), w.attention_norm.get(), at_.normed);
  multiply(w.qkv, at_.normed, at_.wide);
  const auto through = [&](const float* x, const float* weight, int64_t heads, float* dy) {
    norm_backward({.x = x,
                   .x_stride = w.qkv.outputs,
                   .weight = weight,
                   .width = c.head_dim,
                   .eps = c.rms_eps,
                   .dy = dy,
                   .rows = rows_,
                   .groups = static_cast<int32_t>(heads),
                   .dx = dy},
                  stream_);
  };
  through(at_.wide, w.q_norm.get(), c.heads, at_.dq);
  through(at_.wide + q_width(), w.k_norm.get(), c.kv_heads, at_.dk_pre);
}

void LossGradient::copy_to_host(int64_t layer) {
  const Kept kept = at_.kept(config(), layer);
  Given& given = given_[static_cast<size_t>(layer % 2)];
  const int64_t floats = rows_ * kv_width();
  float* to = given.rows.get();
  for (const float* from :
       {static_cast<const float*>(kept.k_pre), static_cast<const float*>(kept.k),
        static_cast<const float*>(kept.v), static_cast<const float*>(at_.dk_pre),
        static_cast<const float*>(at_.dk), static_cast<const float*>(at_.dv)}) {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(floats) * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_),
          "gradients to the host");
    to += floats;
  }
  given.copied.record(stream_);
}

void LossGradient::give(int64_t layer, const std::function<void(const KvGradient&)>& tap) {
  Given& given = given_[static_cast<size_t>(layer % 2)];
  given.copied.wait();
  const auto part = [&](int64_t i) {
    return dense_rows<const float>(given.rows.get() + i * rows_ * kv_width(), rows_,
                                   static_cast<int>(config().kv_heads),
                                   static_cast<int>(config().head_dim));
  };
  tap({.layer = static_cast<int>(layer),
       .k_pre = part(0),
       .k = part(1),
       .v = part(2),
       .dk_pre = part(3),
       .dk = part(4),
       .dv = part(5)});
}

double LossGradient::run(std::span<const int32_t> tokens,
                         const std::function<void(const KvGradient&)>& tap) {
  if (tokens.size() < 2) throw std::logic_error("a window of one token has no loss");
  if (std::cmp_greater(tokens.size(), at_.tokens))
    throw std::logic_error("a window of more tokens than planned");
  const ModelConfig& c = config();
  rows_ = std::ssize(tokens);
  check_positions(c, 0, rows_);
  check_tokens(c, tokens);
  forward(tokens);
  loss();
  check_notes();
  const double result = mean_nll();
  norm_back(at_.input(c, c.layers), model_->final_norm(), at_.dh, nullptr, at_.dx);
  // A layer is given to the tap while the next one is computed.
  for (int64_t layer = c.layers - 1; layer >= 0; --layer) {
    middle(layer);
    ffn_back(layer);
    attention_back(layer);
    if (layer < c.layers - 1) give(layer + 1, tap);
  }
  give(0, tap);
  return result;
}

std::unique_ptr<model::LossGradient> make_loss_gradient(std::shared_ptr<const DeviceModel> model,
                                                        int64_t tokens) {
  return std::make_unique<LossGradient>(std::move(model), tokens);
}

}  // namespace kvx::gpu
