// How much device memory a cache pool takes and where in it everything lies: a function of formats,
// shape and limits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "gpu/cache/layout.h"
#include "sim/api/cache.h"

namespace kvx::gpu {

struct PoolLimits {
  int32_t sequences = 1;  // open at a time
  int32_t tokens = 0;     // of the longest sequence
  int32_t pages = 0;      // of all sequences; 0: enough for `sequences` of `tokens` each
  bool operator==(const PoolLimits&) const = default;
};

// K and V of one layer.
using LayerFormats = std::array<SideFormat, 2>;

struct PoolPlan {
  // A run of equal parts (pages, or the rings of slots) in one of the allocations.
  struct Region {
    int64_t at = 0;    // byte offset, a multiple of 256
    int64_t part = 0;  // bytes
  };
  struct SideRegions {
    SideFormat format;
    Region codes, scale, zero, marks, outliers;  // of pages
    Region ring;                                 // of slots
  };

  CacheShape shape;
  int32_t slots = 0;
  int32_t pages_per_slot = 0;
  int32_t pages = 0;
  std::vector<std::array<SideRegions, 2>> layers;
  int64_t codes_bytes = 0;  // of the allocations
  int64_t scale_bytes = 0;
  int64_t zero_bytes = 0;
  int64_t mark_bytes = 0;
  int64_t outlier_bytes = 0;
  int64_t ring_bytes = 0;
  int64_t table_bytes = 0;  // int32 [slots][pages_per_slot]

  int64_t bytes() const {
    return codes_bytes + scale_bytes + zero_bytes + mark_bytes + outlier_bytes + ring_bytes +
           table_bytes;
  }
};

// Throws a usage Error where the head dim is not a multiple of 8 up to 256, where groups along
// tokens need pages of more than 65536 tokens, or where the limits need more than 2^31 - 1 pages.
PoolPlan plan_pool(const LayerShape& shape, std::span<const LayerFormats> layers,
                   const PoolLimits& limits);

// The most sequences of limits.tokens, each in pages of its own, that `bytes` hold; at most
// limits.sequences.
int32_t sequences_that_fit(const LayerShape& shape, std::span<const LayerFormats> layers,
                           const PoolLimits& limits, int64_t bytes);

}  // namespace kvx::gpu
