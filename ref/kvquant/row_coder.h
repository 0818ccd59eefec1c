// One token of one side of a layer, all KV heads, to codes, range and outliers and back. Pure: the
// arithmetic of ref/kvquant.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ref/kvquant/outliers.h"
#include "ref/kvquant/settings.h"
#include "ref/kvquant/tables.h"

namespace kvx::ref::kvquant {

struct Outlier {
  uint32_t channel = 0;  // of the layer, 0 .. d-1
  // profile=paper: the fp16 value itself. repo: fl(x - z), and x for intB; NaN as 0x7fc00000.
  float value = 0;
};

struct CodedRow {
  std::vector<uint8_t> codes;     // [d]
  uint16_t lo = 0, hi = 0;        // fp16 patterns, Axis::kToken alone
  std::vector<Outlier> outliers;  // ascending by channel
};

class RowCoder {
 public:
  // Throws a usage Error where d does not fit the outliers (or is above 65536).
  RowCoder(const Settings& settings, Side side, SideTables tables, int64_t channels);

  const SideTables& tables() const { return tables_; }
  int64_t channels() const { return channels_; }

  // x: [d], fp16 numbers, widened.
  void encode(std::span<const float> x, CodedRow& out) const;

  // x: [d], the binary32 value before it is rounded to fp16. lo, hi as in CodedRow.
  void decode(std::span<const uint8_t> codes, uint16_t lo, uint16_t hi,
              std::span<const Outlier> outliers, std::span<float> x) const;

 private:
  // How u = (x - a) / b, or a product k x - o for intB, is made and undone.
  struct Scale {
    float a = 0;  // z; intB: o
    float b = 0;  // r; intB: k
  };
  Scale scale_of(uint16_t lo, uint16_t hi) const;
  void mark(std::span<const float> x, CodedRow& out, TokenRange& range) const;
  void encode_levels(std::span<const float> x, std::span<const Scale> scales,
                     std::span<const uint8_t> marks, CodedRow& out) const;
  void encode_integers(std::span<const float> x, std::span<const Scale> scales,
                       std::span<const uint8_t> marks, CodedRow& out) const;

  Settings settings_;
  Axis axis_;
  SideTables tables_;
  int64_t channels_;
  int64_t outliers_per_side_;
  std::vector<float> decoded_book_;  // what a code stands for before it is scaled
  std::vector<Scale> scales_;        // [d], Axis::kChannel
  std::vector<float> lo_, hi_;       // the same
};

}  // namespace kvx::ref::kvquant
