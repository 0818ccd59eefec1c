// Attention of one query (ieee.md, 2.7), in the plain form that is the definition.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

inline constexpr int kSegment = 256;  // rows whose numbers share floor(t / 256) are one segment

// One visible row: its absolute number and its K and V, each [head dim].
struct AttentionRow {
  int64_t number;
  const float* k;
  const float* v;
};

// log2(e) / sqrt(d), both in binary64, rounded to binary32.
float attention_scale(int head_dim);

// q, out: [head dim]; rows ascending by number.
namespace plain {
void attend(std::span<const float> q, std::span<const AttentionRow> rows, std::span<float> out);
}  // namespace plain

}  // namespace kvx::num
