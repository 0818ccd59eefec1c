// Device memory of the backward pass over one window: what the forward pass leaves of each layer,
// and what a layer needs on the way back.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gpu/engine/device_model.h"

namespace kvx::gpu {

// Places in one run of device memory; shapes for a window of T tokens, T at most what was planned.
struct GradientWorkspace {
  // What is planned: floats of the whole, and sizes that depend on memory.
  int64_t floats = 0;
  int64_t tokens = 0;
  int64_t logit_rows = 0;    // rows of logits at a time
  int64_t logit_stride = 0;  // floats of one
  int32_t band = 0;          // queries of attention's backward pass at a time

  // By layer: what enters it, [T][hidden], and behind the last layer its output; q (rotated) and
  // the attention's output [T][heads][d]; k before rotation, k and v [T][kv heads][d].
  struct Kept {
    float *input, *q, *out, *k_pre, *k, *v;
  };
  Kept kept(const model::ModelConfig& config, int64_t layer) const;
  float* input(const model::ModelConfig& config, int64_t layer) const {
    return inputs + layer * tokens * config.hidden;
  }

  float* inputs = nullptr;  // [layers + 1][tokens][hidden]
  float* heads = nullptr;   // [layers][tokens][(2 heads + 3 kv heads) d]
  float2* rotary = nullptr;
  float *mid = nullptr, *normed = nullptr, *dx = nullptr, *dh = nullptr;  // [T][hidden]
  float* wide = nullptr;                           // [T][2 ffn] or [T][(heads + 2 kv heads) d]
  float* narrow = nullptr;                         // [T][ffn] or [T][heads d]
  float* dq = nullptr;                             // [T][heads d]
  float *dk_heads = nullptr, *dv_heads = nullptr;  // [heads][T][d]
  float *dk_pre = nullptr, *dk = nullptr, *dv = nullptr;  // [T][kv heads][d]
  float* logits = nullptr;                                // [logit_rows][logit_stride]
  float* attention = nullptr;                             // of attention's backward pass
  float* scratch = nullptr;  // of products and of attention's forward pass
  double* nll = nullptr;     // [T]

  // The plan for windows of up to `tokens` tokens, in memory at `base` (nullptr: no places yet).
  GradientWorkspace(const DeviceModel& model, int64_t tokens, float* base);
};

}  // namespace kvx::gpu
