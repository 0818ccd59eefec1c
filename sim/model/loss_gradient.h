// Gradients of a window's loss with respect to K and V of every layer: what Fisher information of a
// cache is made of (KVQuant, section 3.2 and appendix E).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "sim/api/cache.h"
#include "sim/model/engine.h"

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

// On the CPU: the engine's forward pass and a backward pass in binary32 made of the same products
// and sums, so the bits are the same on every machine and at any thread count. Of a window it keeps
// tokens x layers x (hidden + 2 heads d + 3 kv heads d) floats and computes what lies between anew;
// of the model a transposed copy of each matrix.
class CpuLossGradient final : public LossGradient {
 public:
  // exact: caches that hand K and V on as computed (fp:f32). threads: 0 = as OpenMP says.
  CpuLossGradient(const Model& model, const CacheFactory& exact, int threads);
  ~CpuLossGradient() override;

  double run(std::span<const int32_t> tokens,
             const std::function<void(const KvGradient&)>& tap) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvx::model
