#include "gpu/cache/pool_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kLongestPage = 65536;  // tokens

int32_t page_tokens_of(std::span<const LayerFormats> layers) {
  int64_t tokens = kSegment;
  for (const LayerFormats& sides : layers) {
    for (const SideFormat& format : sides) {
      if (!format.along_tokens) continue;
      tokens = std::lcm(tokens, int64_t{format.group});
      if (tokens > kLongestPage) {
        throw usage_error("groups of " + std::to_string(format.group) +
                          " tokens need pages of more than " + std::to_string(kLongestPage) +
                          " tokens on the device");
      }
    }
  }
  return static_cast<int32_t>(tokens);
}

// Adds a run of `count` parts at the end of an allocation of `total` bytes.
PoolPlan::Region add_region(int64_t part, int64_t count, int64_t& total) {
  const PoolPlan::Region region{.at = total, .part = part};
  total += (part * count + kAlignment - 1) / kAlignment * kAlignment;
  return region;
}

}  // namespace

PoolPlan plan_pool(const LayerShape& shape, std::span<const LayerFormats> layers,
                   const PoolLimits& limits) {
  if (layers.empty() || limits.sequences < 0 || limits.tokens < 0 || limits.pages < 0) {
    throw std::logic_error("a pool without layers, or of negative limits");
  }
  if (shape.head_dim % 8 != 0 || shape.head_dim > 256 || shape.head_dim <= 0) {
    throw usage_error("head dim " + std::to_string(shape.head_dim) +
                      ": the device takes multiples of 8 up to 256");
  }
  PoolPlan plan;
  plan.shape = {.kv_heads = shape.kv_heads,
                .head_dim = shape.head_dim,
                .page_tokens = page_tokens_of(layers)};
  const int64_t page_tokens = plan.shape.page_tokens;
  const int64_t pages_per_slot = (limits.tokens + page_tokens - 1) / page_tokens;
  const int64_t pages = limits.pages > 0 ? limits.pages : limits.sequences * pages_per_slot;
  if (pages > std::numeric_limits<int32_t>::max()) {
    throw usage_error(std::to_string(limits.sequences) + " sequences of " +
                      std::to_string(limits.tokens) + " tokens: too many pages");
  }
  plan.slots = limits.sequences;
  plan.pages_per_slot = static_cast<int32_t>(pages_per_slot);
  plan.pages = static_cast<int32_t>(pages);
  plan.table_bytes = int64_t{4} * plan.slots * plan.pages_per_slot;
  for (const LayerFormats& sides : layers) {
    auto& layer = plan.layers.emplace_back();
    for (size_t side = 0; side < sides.size(); ++side) {
      const SideFormat& format = sides[side];
      const int64_t rows = page_tokens * shape.kv_heads;
      const int64_t groups = page_groups(format, plan.shape) * shape.kv_heads;
      const int64_t ring_values =
          int64_t{format.rule.ring_rows()} * shape.kv_heads * shape.head_dim;
      layer[side] = {
          .format = format,
          .codes = add_region(rows * format.row_bytes(shape.head_dim), pages, plan.codes_bytes),
          .scale = add_region(groups * format.scale_bytes, pages, plan.scale_bytes),
          .zero = add_region(groups * format.zero_bytes, pages, plan.zero_bytes),
          .marks = add_region(rows * format.mark_bytes(shape.head_dim), pages, plan.mark_bytes),
          .outliers =
              add_region(rows * format.outlier_bytes(shape.head_dim), pages, plan.outlier_bytes),
          .ring = add_region(ring_values * 2, plan.slots, plan.ring_bytes)};
    }
  }
  return plan;
}

int32_t sequences_that_fit(const LayerShape& shape, std::span<const LayerFormats> layers,
                           const PoolLimits& limits, int64_t bytes) {
  int32_t fits = 0;
  int32_t too_many = limits.sequences + 1;
  while (too_many - fits > 1) {
    const int32_t middle = fits + (too_many - fits) / 2;
    const PoolLimits tried{.sequences = middle, .tokens = limits.tokens};
    (plan_pool(shape, layers, tried).bytes() <= bytes ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace kvx::gpu
