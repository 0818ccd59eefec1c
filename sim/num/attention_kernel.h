// Entry points of the twice-compiled attention tile.
#pragma once

#include "sim/num/attention_tile.h"

namespace kvx::num {

namespace avx2 {
int attention_rows();
int64_t attention_scratch(int head_dim);
void attention(const AttentionSides& sides, int head_dim, float scale,
               const AttentionQuery* queries, int count, float* scratch);
void key_panel(const float* rows, int64_t stride, int count, int head_dim, float* panel);
}  // namespace avx2
namespace avx512 {
int attention_rows();
int64_t attention_scratch(int head_dim);
void attention(const AttentionSides& sides, int head_dim, float scale,
               const AttentionQuery* queries, int count, float* scratch);
void key_panel(const float* rows, int64_t stride, int count, int head_dim, float* panel);
}  // namespace avx512

}  // namespace kvx::num
