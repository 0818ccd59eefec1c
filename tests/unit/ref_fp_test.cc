#include <gtest/gtest.h>

#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;

TEST(Fp, RoundsOnceToTheFormat) {
  // 1 + 2^-11 is halfway between two binary16 numbers, 1 + 3 * 2^-11 too; 2^-25 underflows to 0 in
  // binary16.
  const std::vector<float> x = {1.0f + 0x1p-11f, 1.0f + 3 * 0x1p-11f, -0.0f,     0x1p-25f,
                                65519.0f,        1.0f + 0x1p-8f,      0x1p-140f, -3.1415927f};
  const std::pair<const char*, std::vector<float>> cases[] = {
      {"fp:f32", x},
      {"fp:f16", {1.0f, 1.0f + 0x1p-9f, -0.0f, 0.0f, 65504.0f, 1.0f + 0x1p-8f, 0.0f, -3.140625f}},
      {"fp:bf16", {1.0f, 1.0f, -0.0f, 0x1p-25f, 65536.0f, 1.0f, 0.0f, -3.140625f}}};
  for (const auto& [descriptor, expected] : cases) {
    const auto cache = test::make(descriptor, 1, 8);
    Tensor rows(1, 1, 8);
    rows.values = x;
    const SeqId seq = cache->open();
    test::append(*cache, seq, rows, rows, 0, 1);
    EXPECT_EQ(test::patterns(test::read_held(*cache, seq, Side::kK)), test::patterns(expected))
        << descriptor;
    EXPECT_EQ(cache->held(seq, Side::kV), (ReadMap{{0, 1, Held::kSealed}}));
    const int64_t bytes = std::string(descriptor) == "fp:f32" ? 64 : 32;
    EXPECT_EQ(static_cast<int64_t>(cache->image(seq).size()), bytes);
    EXPECT_EQ(cache->nominal_bits(Side::kK), static_cast<double>(bytes) / 2);
  }
}

}  // namespace
}  // namespace kvx
