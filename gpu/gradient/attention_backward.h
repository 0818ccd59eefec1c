// Backward pass of exact causal attention over one window (sim/model/loss_gradient.md, 5, steps 1
// to 5). Queries are taken in bands of whole blocks of 128, as many as there is scratch for.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace kvx::gpu {

// All pointers are device memory, aligned to 16 bytes.
struct AttentionBackward {
  const float *q = nullptr, *dout = nullptr;  // [tokens][heads][dim], q rotated
  const float *k = nullptr, *v = nullptr;     // [tokens][kv heads][dim], k rotated
  float* dq = nullptr;                        // [tokens][heads][dim]
  float *dk = nullptr, *dv = nullptr;         // [heads][tokens][dim]: of each query head
  int32_t tokens = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t dim = 0;           // a multiple of 8, at most 256
  float* scratch = nullptr;  // attention_backward_floats
  int32_t band = 0;          // queries at a time, a multiple of 128
};

// Queries of a band for windows of so many tokens: as many as 1 GiB of scratch has room for, one
// block at least.
int32_t attention_backward_band(int64_t tokens, int64_t heads);
int64_t attention_backward_floats(int64_t tokens, int64_t heads, int32_t band);
void attention_backward(const AttentionBackward& args, cudaStream_t stream);

}  // namespace kvx::gpu
