// The forward pass over a window, its loss, and the gradient that enters the final norm.
#include <algorithm>
#include <vector>

#include "gpu/engine/refusals.h"
#include "gpu/gradient/backward_ops.h"
#include "gpu/gradient/loss_gradient.h"

namespace kvx::gpu {

using model::ModelConfig;

void LossGradient::multiply(const Projection& w, const float* x, float* y, const float* residual) {
  for (const Projection::Part& part : w.parts) {
    matmul({.x = x,
            .x_stride = w.inputs,
            .w = &part.weights,
            .y = y + part.column,
            .y_stride = w.outputs,
            .m = rows_,
            .bias = w.bias.get() == nullptr ? nullptr : w.bias.get() + part.column,
            .residual = residual == nullptr ? nullptr : residual + part.column,
            .scratch = at_.scratch},
           stream_);
  }
}

void LossGradient::norm(const float* x, const float* weight, float* y) {
  rms_norm({.x = x,
            .y = y,
            .weight = weight,
            .width = config().hidden,
            .eps = config().rms_eps,
            .count = rows_},
           stream_);
}

void LossGradient::forward(std::span<const int32_t> tokens) {
  const ModelConfig& c = config();
  const auto rows = static_cast<int32_t>(rows_);
  const PassSpan span{.first = 0, .slot = 0, .count = rows, .row = 0, .exact = 1};
  tokens_.upload(tokens, 0, stream_);
  span_.upload({&span, 1}, 0, stream_);
  check(cudaMemsetAsync(notes_.get(), 0xFF, static_cast<size_t>(notes_.bytes()), stream_), "notes");
  const Pass pass{
      .spans = span_.get(), .span_count = 1, .rows = rows, .max_count = rows, .max_length = rows};
  rotary_table(pass, model_->rope_steps(), static_cast<int32_t>(c.head_dim / 2), at_.rotary,
               stream_);
  gather_rows(model_->embedding(), tokens_.get(), rows_, at_.input(c, 0), stream_);
  for (int64_t layer = 0; layer < c.layers; ++layer) forward_layer(layer);
}

void LossGradient::forward_layer(int64_t layer) {
  const ModelConfig& c = config();
  const DeviceLayer& w = weights(layer);
  const Kept kept = at_.kept(c, layer);
  norm(kept.input, w.attention_norm.get(), at_.normed);
  multiply(w.qkv, at_.normed, at_.wide);
  split_heads({.qkv = at_.wide,
               .rows = rows_,
               .heads = static_cast<int32_t>(c.heads),
               .kv_heads = static_cast<int32_t>(c.kv_heads),
               .dim = static_cast<int32_t>(c.head_dim),
               .q_norm = w.q_norm.get(),
               .k_norm = w.k_norm.get(),
               .eps = c.rms_eps,
               .rotary = at_.rotary,
               .q = kept.q,
               .k = kept.k,
               .v = kept.v,
               .k_pre = kept.k_pre,
               .note = notes_.get() + layer},
              stream_);
  attend(kept);
  middle(layer);
  swiglu(at_.wide, rows_, c.ffn, stream_);
  matmul({.x = at_.wide,
          .x_stride = 2 * c.ffn,
          .w = &w.down.parts.front().weights,
          .y = at_.input(c, layer + 1),
          .y_stride = c.hidden,
          .m = rows_,
          .residual = at_.mid,
          .scratch = at_.scratch},
         stream_);
}

// Over the window's own rows: an exact span touches no page.
void LossGradient::attend(const Kept& kept) {
  const ModelConfig& c = config();
  const auto rows = static_cast<int32_t>(rows_);
  const CacheShape shape{.kv_heads = static_cast<int32_t>(c.kv_heads),
                         .head_dim = static_cast<int32_t>(c.head_dim),
                         .page_tokens = kSegment};
  kernels_->attend({.q = kept.q,
                    .out = kept.out,
                    .q_heads = static_cast<int32_t>(c.heads),
                    .k = {.data = kept.k},
                    .v = {.data = kept.v},
                    .pass = {.spans = span_.get(),
                             .span_count = 1,
                             .rows = rows,
                             .max_count = rows,
                             .max_length = rows},
                    .view = {{.format = kernels_->format(Side::kK), .shape = shape},
                             {.format = kernels_->format(Side::kV), .shape = shape}},
                    .scratch = at_.scratch},
                   stream_);
}

void LossGradient::middle(int64_t layer) {
  const DeviceLayer& w = weights(layer);
  const Kept kept = at_.kept(config(), layer);
  multiply(w.o, kept.out, at_.mid, kept.input);
  norm(at_.mid, w.ffn_norm.get(), at_.normed);
  multiply(w.gate_up, at_.normed, at_.wide);
}

void LossGradient::loss() {
  const ModelConfig& c = config();
  const int64_t predicting = rows_ - 1;
  const float* const output = at_.input(c, c.layers);
  check(cudaMemsetAsync(at_.dh + predicting * c.hidden, 0,
                        static_cast<size_t>(c.hidden) * sizeof(float), stream_),
        "gradient of the last row");
  const auto product = [&](const DeviceWeights& w, const float* x, int64_t x_stride, float* y,
                           int64_t y_stride, int64_t count) {
    matmul({.x = x,
            .x_stride = x_stride,
            .w = &w,
            .y = y,
            .y_stride = y_stride,
            .m = count,
            .scratch = at_.scratch},
           stream_);
  };
  for (int64_t first = 0; first < predicting; first += at_.logit_rows) {
    const int64_t count = std::min(at_.logit_rows, predicting - first);
    rms_norm({.x = output,
              .y = at_.normed,
              .weight = model_->final_norm(),
              .width = c.hidden,
              .eps = c.rms_eps,
              .count = count,
              .first = first},
             stream_);
    product(model_->head().parts.front().weights, at_.normed, c.hidden, at_.logits,
            at_.logit_stride, count);
    loss_backward({.logits = at_.logits,
                   .stride = at_.logit_stride,
                   .vocab = c.vocab,
                   .rows = count,
                   .next = tokens_.get() + first + 1,
                   .scale = 1.0f / static_cast<float>(predicting),
                   .nll = at_.nll + first},
                  stream_);
    product(transposed_.head, at_.logits, at_.logit_stride, at_.dh + first * c.hidden, c.hidden,
            count);
  }
}

void LossGradient::check_notes() {
  std::vector<NonFiniteNote> notes(static_cast<size_t>(config().layers));
  notes_.download(notes, 0, stream_);
  const auto found =
      std::ranges::find_if(notes, [](NonFiniteNote note) { return note != kNothingNoted; });
  if (found == notes.end()) return;
  NonFiniteValue at = value_of(*found, config(), rows_);
  at.layer = static_cast<int>(found - notes.begin());
  refuse_value(at);
}

double LossGradient::mean_nll() {
  std::vector<double> nll(static_cast<size_t>(rows_ - 1));
  check(cudaMemcpyAsync(nll.data(), at_.nll, nll.size() * sizeof(double), cudaMemcpyDeviceToHost,
                        stream_),
        "likelihoods to the host");
  stream_.wait();
  double sum = 0;
  for (const double one : nll) sum += one;
  return sum / static_cast<double>(nll.size());
}

}  // namespace kvx::gpu
