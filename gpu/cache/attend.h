// Attention of a pass over a device cache (ieee.md, 2.7) in two launch forms of equal bits: `walk`,
// where a block takes 64 queries through all segments, and `split`, where segments are computed by
// themselves and folded afterwards. This part knows no codec.
#pragma once

#include <cmath>

#include "gpu/cache/kernels.h"

namespace kvx::gpu {

enum class AttendForm : uint8_t { kWalk, kSplit };

// By the bounds of the pass alone, so that a captured graph keeps its form.
AttendForm attend_form(const Pass& bounds, const CacheShape& shape, int q_heads);

// Floats of AttendArgs::scratch that a form needs, and those of the form that is chosen.
int64_t attend_scratch_floats(AttendForm form, const Pass& bounds, const CacheShape& shape,
                              int q_heads);
int64_t attend_scratch_floats(const Pass& bounds, const CacheShape& shape, int q_heads);

namespace attention {

// log2(e) / sqrt(d), both in binary64, rounded to binary32.
inline float scale(int head_dim) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
}

// Partials of the form `split`: o [span][token of span][q head][segment][head dim], then (m, l)
// [span][token of span][q head][segment][2]. Those of segments that a query does not see are
// neither written nor read.
struct SplitScratch {
  int32_t tokens, heads, segments, dim;
  int64_t queries;
  float* data;

  KVX_HD SplitScratch(const Pass& bounds, int q_heads, int head_dim, float* scratch)
      : tokens(bounds.max_count),
        heads(q_heads),
        segments((bounds.max_length + kSegment - 1) / kSegment),
        dim(head_dim),
        queries(int64_t{bounds.span_count} * bounds.max_count * q_heads),
        data(scratch) {}
  KVX_HD int64_t floats() const { return queries * segments * (dim + 2); }
  KVX_HD int64_t at(int span, int token, int head, int segment) const {
    return ((int64_t{span} * tokens + token) * heads + head) * segments + segment;
  }
  KVX_HD float* values(int span, int token, int head, int segment) const {
    return data + at(span, token, head, segment) * dim;
  }
  KVX_HD float* sums(int span, int token, int head, int segment) const {
    return data + queries * segments * dim + at(span, token, head, segment) * 2;
  }
};

// Step 6 over the partials, and the end.
void fold(const AttendArgs& args, cudaStream_t stream);

}  // namespace attention
}  // namespace kvx::gpu
