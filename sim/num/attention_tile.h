// Attention of a few queries at a time (ieee.md, 2.7), vectorised: equal bit for bit to
// plain::attend over the same rows, for finite K and V and head dims up to 512. A causal pass in
// which rows of a query are a sealed prefix and an exact rest.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

// Rows of one KV head in both versions a query may read. A version may be null where no query reads
// it.
struct AttentionSides {
  // Panels [ceil(rows/32)][head dim][32] of the keys.
  const float* k_sealed = nullptr;
  const float* k_exact = nullptr;
  // [rows][v_stride] values; v_stride is a multiple of 32, at least the head dim; what is beyond it
  // is finite.
  const float* v_sealed = nullptr;
  const float* v_exact = nullptr;
  int64_t v_stride = 0;
};

// A query sees rows 0..position: keys below k_sealed as sealed, the others exact; values alike.
struct AttentionQuery {
  const float* q = nullptr;  // [head dim], rotated
  float* out = nullptr;      // [head dim]
  int64_t position = 0;
  int64_t k_sealed = 0;
  int64_t v_sealed = 0;
};

inline constexpr int kAttentionMaxDim = 512;

// Queries of the largest tile for the active instruction set, and what a tile needs to work in.
int attention_tile_rows();
int64_t attention_scratch_floats(int head_dim);

// 1 to attention_tile_rows() queries; scratch is 64-byte aligned.
void attend_tile(const AttentionSides& sides, int head_dim, std::span<const AttentionQuery> queries,
                 float* scratch);

// Puts up to 32 key rows, `stride` floats apart, into one panel [head_dim][32]; missing rows become
// zeros.
void pack_key_panel(const float* rows, int64_t stride, int count, int head_dim, float* panel);

}  // namespace kvx::num
