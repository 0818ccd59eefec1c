// What a query reads of the rows of one tile, and the rules of shapes and ranges.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "sim/num/fixed.h"

namespace kvx::num::fixed {

// Rows first .. first + kTile - 1 of one side.
struct TileReads {
  std::array<bool, kTile> visible{};
  std::array<bool, kTile> sealed{};         // visible and read sealed
  std::array<const float*, kTile> exact{};  // visible and read exactly, else nullptr
  bool any = false, any_sealed = false, any_exact = false, all_sealed = false;
};
TileReads tile_reads(std::span<const RowRead> rows, int64_t first, int dim);

// Tiles [begin, end) hold all rows of the reads.
struct TileRange {
  int64_t begin = 0, end = 0;
};
TileRange tile_range(std::span<const RowRead> rows);

// The group along tokens that holds a row.
inline int64_t token_group(const Sealed& side, int64_t row) {
  return (row - side.first) / side.group;
}

// c: log2(e) / sqrt(dim) in binary64, rounded to binary32 (ieee.md, 2.7).
float score_factor(int dim);

// Throws std::logic_error where a rule of fixed.h about shapes and ranges is broken.
void require_rules(const Head& head, std::span<const Query> queries);

}  // namespace kvx::num::fixed
