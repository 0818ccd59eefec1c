// Gradients of a window's loss with respect to K and V of every layer: what Fisher information of a
// cache is made of (KVQuant, section 3.2 and appendix E). The CPU (loss_gradient.h) and the device
// give the same bits: loss_gradient.md has the order of every sum.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "sim/api/tensor.h"

namespace kvx::model {

// K and V of one layer of a window as computed, and dL/dK, dL/dV; each [tokens][kv heads][head
// dim]. k_pre: before rotation, after the bias and the norm of heads where the model has them.
// Gradients sum over the query heads that share a KV head.
struct KvGradient {
  int layer;
  ConstRows k_pre, k, v;
  ConstRows dk_pre, dk, dv;
};

class LossGradient {
 public:
  virtual ~LossGradient() = default;

  // One window, a sequence of its own of at least 2 tokens: L = -(1 / (T - 1)) sum over t = 0 ..
  // T-2 of log p(x_{t+1} | x_0 .. x_t), attention exact. Returns L; `tap` sees every layer, the
  // last one first, with host memory that is valid during the call. Throws the Errors of
  // Transformer::forward.
  virtual double run(std::span<const int32_t> tokens,
                     const std::function<void(const KvGradient&)>& tap) = 0;
};

}  // namespace kvx::model
