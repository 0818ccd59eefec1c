// Attention in the arithmetic `fixed` (fixed.md): codes of affine schemes, x^ = code * scale + zero
// in real numbers, whose products and sums over channels and over the rows of a tile are exact
// integers.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num::fixed {

// Part of the arithmetic (fixed.md, 1).
inline constexpr int kTile = 128;        // rows 128 i .. 128 i + 127
inline constexpr int kSegmentTiles = 8;  // tiles of a segment
inline constexpr int kSpanSegments = 8;  // segments of a span
inline constexpr int kMaxDim = 256;      // sums of 8-bit codes fit 32 bits up to here

enum class Along : uint8_t { kTokens, kChannels };

// K or V of one KV head, sealed. Row numbers are absolute; row `first` is at index 0 of the arrays,
// and groups along tokens are counted from it.
struct Sealed {
  const uint8_t* codes = nullptr;  // [rows][head dim]
  // binary32, widened from what is stored; finite, of magnitude up to 2^24; a scale of V is not
  // negative. Groups along tokens (K alone): [ceil(rows / group)][head dim]; along channels:
  // [rows][head dim / group]. A scheme that stores z of code * s - z gives -z; symmetric codes of b
  // bits are given as code + 2^(b-1) with zero = -2^(b-1) s.
  const float* scale = nullptr;
  const float* zero = nullptr;
  Along along = Along::kChannels;
  int group = 0;  // tokens or channels; along channels it divides the head dim
  int64_t first = 0;
};

struct Head {
  int dim = 0;  // up to kMaxDim
  Sealed k, v;
};

// Rows [first, first + count) as a query reads them.
struct RowRead {
  int64_t first = 0;
  int64_t count = 0;
  const float* exact = nullptr;  // [count][head dim], finite; nullptr: the sealed rows
};

// One query head at one position. k and v: ascending, disjoint, together the same rows; rows in no
// range are not visible.
struct Query {
  const float* q = nullptr;  // [head dim], after rotation, |q| <= 2^64
  std::span<const RowRead> k, v;
  float* out = nullptr;  // [head dim]; +0 where no row is visible
};

// Attention of queries that share a KV head (query heads of a group, tokens, or both). Each has the
// same bits alone as in any company. Throws std::logic_error where a rule above about shapes and
// ranges is broken; numbers are not looked at.
void attend(const Head& head, std::span<const Query> queries);

// The definition.
namespace plain {
void attend(const Head& head, std::span<const Query> queries);
}  // namespace plain

}  // namespace kvx::num::fixed
