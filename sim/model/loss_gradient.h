// Gradients of a window's loss on the CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "sim/api/cache.h"
#include "sim/model/engine.h"
#include "sim/model/kv_gradient.h"

namespace kvx::model {

// The engine's forward pass and the backward pass of loss_gradient.md; the same bits on every
// machine and at any thread count. Of a window it keeps tokens x layers x (hidden + 2 heads d + 3
// kv heads d) floats and computes what lies between anew; of the model a transposed copy of each
// matrix.
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
