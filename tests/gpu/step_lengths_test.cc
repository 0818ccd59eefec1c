#include "gpu/bench/step_lengths.h"

#include <gtest/gtest.h>

namespace kvx::gpu {
namespace {

StepLengths lengths(SealRule k, SealRule v, int32_t tokens, int32_t queries) {
  const SealRule rules[] = {k, v};
  return step_lengths(rules, tokens, queries);
}

constexpr SealRule kToken{}, kRecent{.unit = 1, .window = 128}, kGroup{.unit = 32, .window = 128};

TEST(StepLengths, WithoutUnitsThereIsNothingToSeal) {
  for (const SealRule& rule : {kToken, kRecent}) {
    const StepLengths found = lengths(kToken, rule, 1000, 1);
    EXPECT_EQ(found.append, 1000);
    EXPECT_FALSE(found.seal);
  }
}

// Units of 32 behind 128 tokens end at 128 + 32 n: 32768 = 128 + 32 * 1020.
TEST(StepLengths, LeastLengthsAroundAUnit) {
  for (const int32_t tokens : {32767, 32768}) {
    const StepLengths found = lengths(kGroup, kRecent, tokens, 1);
    EXPECT_EQ(found.append, 32768);
    EXPECT_EQ(found.seal, 32799);
  }
  const StepLengths four = lengths(kToken, kGroup, 32766, 4);
  EXPECT_EQ(four.append, 32768);
  EXPECT_EQ(four.seal, 32796);
  const StepLengths before = lengths(kGroup, kGroup, 1, 1);
  EXPECT_EQ(before.append, 1);
  EXPECT_EQ(before.seal, 159);
}

TEST(StepLengths, StepsOfWholeUnitsSealAlways) {
  const StepLengths found = lengths({.unit = 4}, {.unit = 4}, 100, 8);
  EXPECT_EQ(found.append, 100);
  EXPECT_EQ(found.seal, 100);
}

}  // namespace
}  // namespace kvx::gpu
