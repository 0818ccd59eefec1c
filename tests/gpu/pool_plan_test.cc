// Where the memory of a cache pool goes.
#include "gpu/cache/pool_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr LayerShape kShape{.layer = 0, .kv_heads = 2, .head_dim = 64};

// kivi:k2v4,g32,r128: keys along tokens, values along channels.
constexpr LayerFormats kKivi = {SideFormat{.bits = 2,
                                           .group = 32,
                                           .along_tokens = true,
                                           .scale_bytes = 2,
                                           .zero_bytes = 2,
                                           .rule = {.unit = 128, .lag = 1}},
                                SideFormat{.bits = 4,
                                           .group = 32,
                                           .scale_bytes = 2,
                                           .zero_bytes = 2,
                                           .rule = {.window = 128, .lag = 1}}};

TEST(PoolPlan, CountsEveryByte) {
  const PoolPlan plan = plan_pool(kShape, std::vector{kKivi}, {.sequences = 3, .tokens = 300});
  EXPECT_EQ(plan.shape.page_tokens, 256);
  EXPECT_EQ(plan.pages_per_slot, 2);
  EXPECT_EQ(plan.pages, 6);
  const auto& [k, v] = plan.layers[0];
  EXPECT_EQ(k.codes.part, 2 * 256 * 64 * 2 / 8);
  EXPECT_EQ(v.codes.part, 2 * 256 * 64 * 4 / 8);
  EXPECT_EQ(k.scale.part, 2 * (256 / 32) * 64 * 2);
  EXPECT_EQ(v.zero.part, 2 * 256 * (64 / 32) * 2);
  EXPECT_EQ(k.ring.part, 128 * 2 * 64 * 2);
  EXPECT_EQ(v.ring.part, 129 * 2 * 64 * 2);
  EXPECT_EQ(plan.codes_bytes, 6 * (k.codes.part + v.codes.part));
  EXPECT_EQ(plan.scale_bytes, 6 * (k.scale.part + v.scale.part));
  EXPECT_EQ(plan.ring_bytes, 3 * (k.ring.part + v.ring.part));
  EXPECT_EQ(plan.table_bytes, 3 * 2 * 4);
}

TEST(PoolPlan, HasRoomForEveryOutlier) {
  const SideFormat sparse{.bits = 3,
                          .group = 64,
                          .scale_bytes = 2,
                          .zero_bytes = 2,
                          .sparse = true,
                          .rule = {.sink = 5}};
  SideFormat dense = sparse;
  dense.sparse = false;
  const PoolPlan plan =
      plan_pool(kShape, std::vector{LayerFormats{sparse, dense}}, {.sequences = 3, .tokens = 300});
  const auto& [k, v] = plan.layers[0];
  EXPECT_EQ(k.marks.part, 2 * 256 * 64 / 8);
  EXPECT_EQ(k.outliers.part, 2 * 256 * 64 * 2);
  EXPECT_EQ(v.marks.part + v.outliers.part, 0);
  EXPECT_EQ(k.ring.part, 5 * 2 * 64 * 2);
  EXPECT_EQ(plan.mark_bytes, 6 * k.marks.part);
  EXPECT_EQ(plan.outlier_bytes, 6 * k.outliers.part);
  EXPECT_EQ(plan.bytes(), plan.codes_bytes + plan.scale_bytes + plan.zero_bytes + plan.mark_bytes +
                              plan.outlier_bytes + plan.ring_bytes + plan.table_bytes);
}

TEST(PoolPlan, RegionsAreAlignedAndApart) {
  SideFormat odd{.bits = 3, .group = 64, .scale_bytes = 4, .rule = {.unit = 1, .window = 3}};
  const PoolPlan plan =
      plan_pool({.kv_heads = 1, .head_dim = 8}, std::vector(5, LayerFormats{odd, odd}),
                {.sequences = 3, .tokens = 100, .pages = 2});
  EXPECT_EQ(plan.pages, 2);
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (const auto& layer : plan.layers) {
    for (const auto& side : layer) {
      EXPECT_EQ(side.ring.at % 256, 0);
      runs.emplace_back(side.ring.at, side.ring.at + side.ring.part * plan.slots);
    }
  }
  std::ranges::sort(runs);
  for (size_t i = 1; i < runs.size(); ++i) EXPECT_GE(runs[i].first, runs[i - 1].second);
  EXPECT_LE(runs.back().second, plan.ring_bytes);
}

TEST(PoolPlan, PagesHoldWholeGroups) {
  const auto page_tokens = [](int k_group, int v_group) {
    LayerFormats formats = kKivi;
    formats[0].group = k_group;
    formats[1].along_tokens = v_group > 0;
    formats[1].group = std::max(1, v_group);
    return plan_pool(kShape, std::vector{formats}, {.sequences = 1, .tokens = 1}).shape.page_tokens;
  };
  EXPECT_EQ(page_tokens(32, 0), 256);
  EXPECT_EQ(page_tokens(12, 0), 768);
  EXPECT_EQ(page_tokens(12, 20), 3840);
  EXPECT_EQ(page_tokens(512, 0), 512);
  EXPECT_EQ(page_tokens(255, 0), 65280);
  EXPECT_THROW(page_tokens(257, 0), Error);
}

TEST(PoolPlan, TellsTheBatchThatFits) {
  const std::vector layers(4, kKivi);
  const PoolLimits limits{.sequences = 100, .tokens = 1000};
  for (const int32_t fits : {1, 7, 99}) {
    const PoolLimits some{.sequences = fits, .tokens = 1000};
    const int64_t bytes = plan_pool(kShape, layers, some).bytes();
    EXPECT_EQ(sequences_that_fit(kShape, layers, limits, bytes), fits);
    EXPECT_EQ(sequences_that_fit(kShape, layers, limits, bytes - 1), fits - 1);
  }
  EXPECT_EQ(sequences_that_fit(kShape, layers, limits, int64_t{1} << 50), 100);
}

TEST(PoolPlan, RefusesWhatKernelsCannotAddress) {
  const std::vector layers{kKivi};
  const auto exit_of = [&](LayerShape shape, const PoolLimits& limits) {
    try {
      plan_pool(shape, layers, limits);
      return Exit::kGood;
    } catch (const Error& error) {
      return error.exit();
    }
  };
  EXPECT_EQ(exit_of({.kv_heads = 2, .head_dim = 256}, {.tokens = 1}), Exit::kGood);
  EXPECT_EQ(exit_of({.kv_heads = 2, .head_dim = 264}, {.tokens = 1}), Exit::kUsage);
  EXPECT_EQ(exit_of({.kv_heads = 2, .head_dim = 36}, {.tokens = 1}), Exit::kUsage);
  EXPECT_EQ(exit_of(kShape, {.sequences = 1 << 20, .tokens = 1 << 30}), Exit::kUsage);
}

}  // namespace
}  // namespace kvx::gpu
