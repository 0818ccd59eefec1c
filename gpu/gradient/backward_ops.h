// Elementwise steps and norms of the backward pass (sim/model/loss_gradient.md). Every call
// enqueues work on a stream; all pointers are device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace kvx::gpu {

// Rows of logits that predict the token after them, one nll each; in their place the gradient of
// the loss (section 2).
struct LossRows {
  float* logits = nullptr;  // [rows][stride]
  int64_t stride = 0;
  int64_t vocab = 0;
  int64_t rows = 0;
  const int32_t* next = nullptr;  // [rows], ids below vocab
  float scale = 0;                // c
  double* nll = nullptr;          // [rows]
};
void loss_backward(const LossRows& args, cudaStream_t stream);

// RMSNorm backward (section 3) of `groups` runs of `width` values in each row.
struct NormBackward {
  const float* x = nullptr;  // what entered the norm: rows of x_stride, runs side by side
  int64_t x_stride = 0;
  const float* weight = nullptr;  // [width]
  int64_t width = 0;
  float eps = 0;
  const float* dy = nullptr;  // [rows][groups][width]
  int64_t rows = 0;
  int32_t groups = 1;
  const float* residual = nullptr;  // as dy: dx = residual + ...; nullptr: none
  float* dx = nullptr;              // as dy; may be dy or residual
};
void norm_backward(const NormBackward& args, cudaStream_t stream);

// Section 4, step 2: gate_up [rows][2 width] = (g, u) becomes (dg, du); t [rows][width].
void swiglu_backward(float* gate_up, const float* t, int64_t rows, int64_t width,
                     cudaStream_t stream);

// y [rows][heads][dim] = x turned back; y may be x. rotary: (sin, cos) [rows][dim / 2].
void unrotate(const float* x, float* y, const float2* rotary, int64_t rows, int32_t heads,
              int32_t dim, cudaStream_t stream);

// to [rows][kv heads][dim] = sum over the heads of each group, ascending, of from
// [heads][rows][dim].
void sum_groups(const float* from, float* to, int64_t rows, int32_t heads, int32_t kv_heads,
                int32_t dim, cudaStream_t stream);

}  // namespace kvx::gpu
