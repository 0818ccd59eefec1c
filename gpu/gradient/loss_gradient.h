// Gradients of a window's loss on the device: the bits of the CPU (sim/model/loss_gradient.md).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "gpu/cache/kernels.h"
#include "gpu/common/memory.h"
#include "gpu/common/stream.h"
#include "gpu/engine/device_model.h"
#include "gpu/engine/elementwise.h"
#include "gpu/gradient/transposed.h"
#include "gpu/gradient/workspace.h"
#include "sim/model/kv_gradient.h"

namespace kvx::gpu {

// forward.cc: the forward pass and the loss. loss_gradient.cc: the way back.
class LossGradient final : public model::LossGradient {
 public:
  // Takes all memory for windows of up to `tokens` tokens. Throws an environment Error naming the
  // memory needed and free where it does not fit.
  LossGradient(std::shared_ptr<const DeviceModel> model, int64_t tokens);
  ~LossGradient() override;

  double run(std::span<const int32_t> tokens,
             const std::function<void(const model::KvGradient&)>& tap) override;

 private:
  using Kept = GradientWorkspace::Kept;

  // K and V of a layer and their gradients on their way to the host, [6][T][kv heads][d] in the
  // order of KvGradient.
  struct Given {
    PinnedArray<float> rows;
    Event copied;
  };

  const model::ModelConfig& config() const { return model_->config(); }
  const DeviceLayer& weights(int64_t layer) const {
    return model_->layers()[static_cast<size_t>(layer)];
  }
  int64_t q_width() const { return config().heads * config().head_dim; }
  int64_t kv_width() const { return config().kv_heads * config().head_dim; }

  // y [T][w.outputs] = x w^T + bias (+ residual, of y's shape), x [T][w.inputs].
  void multiply(const Projection& w, const float* x, float* y, const float* residual = nullptr);
  // y [T][w.n] (+)= y's gradient x through a transposed matrix; rows of x lie `x_stride` apart.
  void back(const DeviceWeights& w, const float* x, int64_t x_stride, float* y, bool add = false);
  void norm(const float* x, const float* weight, float* y);
  // dx = (residual +) dy through a norm of rows of `hidden` whose input is x.
  void norm_back(const float* x, const float* weight, const float* dy, const float* residual,
                 float* dx);

  void forward(std::span<const int32_t> tokens);
  void forward_layer(int64_t layer);
  void attend(const Kept& kept);
  // Logits, nll and dh of rows 0 .. T-2.
  void loss();
  // Throws for the first K or V that is not finite.
  void check_notes();
  // L of the nll of the rows.
  double mean_nll();

  // mid, and gate and up in `wide`, of a layer, from what was kept.
  void middle(int64_t layer);
  void ffn_back(int64_t layer);
  void attention_back(int64_t layer);
  // dq and dk_pre through the norms of heads.
  void heads_norm_back(int64_t layer);
  void copy_to_host(int64_t layer);
  void give(int64_t layer, const std::function<void(const model::KvGradient&)>& tap);

  std::shared_ptr<const DeviceModel> model_;
  int64_t rows_ = 0;  // T of the window
  DeviceArray<float> memory_;
  GradientWorkspace at_;
  TransposedModel transposed_;
  std::unique_ptr<SchemeKernels> kernels_;  // of fp:f32: their attention reads K and V of the pass
  DeviceArray<int32_t> tokens_;
  DeviceArray<PassSpan> span_;
  DeviceArray<NonFiniteNote> notes_;  // by layer
  std::array<Given, 2> given_;
  Stream stream_;
};

}  // namespace kvx::gpu
