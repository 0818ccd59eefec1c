// What lies between the matrix products and the caches of a layer, in the `ieee` arithmetic: norms,
// rotation, gating, and the greatest logit. Every call enqueues work on a stream; sizes of nothing
// are allowed.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gpu/cache/layout.h"
#include "sim/api/cache.h"

namespace kvx::gpu {

// RMSNorm of rows of `width` (ieee.md, 2.4). y may be x where the rows are the same.
struct NormArgs {
  const float* x = nullptr;  // device, [...][width]
  float* y = nullptr;        // device, [count][width]
  const float* weight = nullptr;
  int64_t width = 0;
  float eps = 0;
  int64_t count = 0;
  int64_t first = 0;              // row i of y comes from row first + i of x,
  const int32_t* pick = nullptr;  // or, where this is set (device), from row pick[first + i]
  bool follows_kernel = false;    // directly on the stream: may begin before that has ended
};
void rms_norm(const NormArgs& args, cudaStream_t stream);

// (sin, cos) of every pair at the position of every row of the pass, [rows][pairs] (1.8); `steps`
// [pairs] in device memory.
void rotary_table(const Pass& pass, const uint64_t* steps, int32_t pairs, float2* table,
                  cudaStream_t stream);

// The first K or V of a layer that is not finite once rounded to the input type: in the high half
// ((side * rows + row) * kv heads + head) * head dim + channel, in the low half the pattern of the
// value. The least note counts: the order in which the reference looks.
using NonFiniteNote = unsigned long long;
inline constexpr NonFiniteNote kNothingNoted = ~0ull;

// The least magnitude that is not finite in an input type, to nearest even.
KVX_HD inline float overflow_of(InputType input) {
  if (input == InputType::kF16) return 65520.0f;
  if (input == InputType::kBf16) return 0x1.ffp+127f;
  return __builtin_huge_valf();
}
KVX_HD inline bool stays_finite(float x, InputType input) {
  return (x < 0 ? -x : x) < overflow_of(input);
}

// From the products of the projections to Q, K and V: norms of heads where there are any, rotation.
struct HeadArgs {
  const float* qkv = nullptr;  // device, [rows][(heads + 2 kv heads)][dim]: q, k, v
  int64_t rows = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t dim = 0;                 // at most 256
  const float* q_norm = nullptr;   // device, [dim]; nullptr: heads are not normed
  const float* k_norm = nullptr;   // both or none
  float eps = 0;                   // of these norms
  const float2* rotary = nullptr;  // [rows][dim / 2], of rotary_table
  float* q = nullptr;              // [rows][heads][dim]
  float* k = nullptr;              // [rows][kv heads][dim]
  float* v = nullptr;              // the same
  float* q_pre = nullptr;          // before rotation; nullptr: not asked for
  float* k_pre = nullptr;          // the same
  bool stores_unrotated = false;   // keys are looked at before rotation: as the cache stores them
  NonFiniteNote* note = nullptr;   // device; nullptr: not looked for
  InputType input = InputType::kF32;
};
void split_heads(const HeadArgs& args, cudaStream_t stream);

// gate_up [rows][2 width] = (g, u): h_i = silu(g_i) * u_i, in the place of g.
void swiglu(float* gate_up, int64_t rows, int64_t width, cudaStream_t stream);

// The greatest logit of a row (2.3) as a number that orders choices: 0 for none.
using Choice = unsigned long long;
KVX_HD inline int32_t chosen_id(Choice choice) {
  return choice == 0 ? -1 : static_cast<int32_t>(0xFFFFFFFFu - static_cast<uint32_t>(choice));
}
// choices [rows] = max(choices, those of logits [rows][vocab]).
void choose_greatest(const float* logits, int64_t rows, int64_t vocab, Choice* choices,
                     cudaStream_t stream);

// Greedy decoding on the device: what a step leaves to the next.
struct GreedyState {
  int32_t step = 0;
  int32_t failed_step = -1;  // the first step with a note, its first layer and that note
  int32_t failed_layer = 0;
  NonFiniteNote note = kNothingNoted;
};
// Ends a step of `count` sequences: token choices to ids [step][count] (-1 for none) and to
// `tokens`, choices back to 0, spans one token on, the first note of `notes` [layers] kept.
struct StepArgs {
  GreedyState* state = nullptr;
  Choice* choices = nullptr;
  int32_t* ids = nullptr;
  int32_t* tokens = nullptr;  // of no choice: 0
  PassSpan* spans = nullptr;
  int32_t count = 0;
  const NonFiniteNote* notes = nullptr;
  int32_t layers = 0;
};
void end_greedy_step(const StepArgs& args, cudaStream_t stream);

}  // namespace kvx::gpu
