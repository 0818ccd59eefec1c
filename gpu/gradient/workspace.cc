#include "gpu/gradient/workspace.h"

#include <algorithm>

#include "gpu/cache/attend.h"
#include "gpu/gradient/attention_backward.h"

namespace kvx::gpu {
namespace {

using model::ModelConfig;

constexpr int64_t kLogitFloats = int64_t{1} << 26;  // at a time: 256 MiB

int64_t q_width(const ModelConfig& c) { return c.heads * c.head_dim; }
int64_t kv_width(const ModelConfig& c) { return c.kv_heads * c.head_dim; }
int64_t kept_width(const ModelConfig& c) { return 2 * q_width(c) + 3 * kv_width(c); }

// Gives parts of the memory one after another, aligned to 256 bytes.
struct Carver {
  float* base;
  int64_t used = 0;

  float* take(int64_t floats) {
    float* const at = base == nullptr ? nullptr : base + used;
    used += (floats + 63) / 64 * 64;
    return at;
  }
};

// Of all products of a pass, either way (smaller ones take no more), and of attention. A window of
// so few queries that attention's form `split` is chosen fits into one segment.
int64_t scratch_floats(const ModelConfig& c, int64_t rows, int64_t logit_rows) {
  const int64_t q = q_width(c);
  int64_t most = 0;
  for (const int64_t outputs : {q + 2 * kv_width(c), 2 * c.ffn})
    most = std::max(most, matmul_scratch_floats(rows, outputs, c.hidden));
  for (const int64_t inputs : {q, c.ffn})
    most = std::max(most, matmul_scratch_floats(rows, c.hidden, inputs));
  most = std::max({most, matmul_scratch_floats(logit_rows, c.vocab, c.hidden),
                   matmul_scratch_floats(logit_rows, c.hidden, c.vocab)});
  const int32_t few = static_cast<int32_t>(std::min<int64_t>(rows, kSegment));
  return std::max(most, attend_scratch_floats(
                            AttendForm::kSplit,
                            {.span_count = 1, .rows = few, .max_count = few, .max_length = few},
                            {.kv_heads = static_cast<int32_t>(c.kv_heads),
                             .head_dim = static_cast<int32_t>(c.head_dim),
                             .page_tokens = kSegment},
                            static_cast<int>(c.heads)));
}

}  // namespace

GradientWorkspace::GradientWorkspace(const DeviceModel& model, int64_t tokens_in, float* base)
    : tokens(tokens_in) {
  const ModelConfig& c = model.config();
  const int64_t q = q_width(c), kv = kv_width(c), t = tokens;
  logit_stride = (c.vocab + 3) / 4 * 4;
  logit_rows = std::clamp<int64_t>(kLogitFloats / logit_stride, 1, t);
  band = attention_backward_band(t, c.heads);
  Carver memory{base};
  inputs = memory.take((c.layers + 1) * t * c.hidden);
  heads = memory.take(c.layers * t * kept_width(c));
  rotary = reinterpret_cast<float2*>(memory.take(t * c.head_dim));
  for (float** rows : {&mid, &normed, &dx, &dh}) *rows = memory.take(t * c.hidden);
  wide = memory.take(t * std::max(2 * c.ffn, q + 2 * kv));
  narrow = memory.take(t * std::max(c.ffn, q));
  for (float** rows : {&dq, &dk_heads, &dv_heads}) *rows = memory.take(t * q);
  for (float** rows : {&dk_pre, &dk, &dv}) *rows = memory.take(t * kv);
  logits = memory.take(logit_rows * logit_stride);
  attention = memory.take(attention_backward_floats(t, c.heads, band));
  scratch = memory.take(scratch_floats(c, t, logit_rows));
  nll = reinterpret_cast<double*>(memory.take(2 * t));
  floats = memory.used;
}

GradientWorkspace::Kept GradientWorkspace::kept(const ModelConfig& c, int64_t layer) const {
  const int64_t q_floats = tokens * q_width(c), kv_floats = tokens * kv_width(c);
  Kept of;
  of.input = input(c, layer);
  of.q = heads + layer * tokens * kept_width(c);
  of.out = of.q + q_floats;
  of.k_pre = of.out + q_floats;
  of.k = of.k_pre + kv_floats;
  of.v = of.k + kv_floats;
  return of;
}

}  // namespace kvx::gpu
