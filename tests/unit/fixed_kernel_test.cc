// The vectorised steps of arithmetic `fixed` against the plain ones, on numbers around the edges of
// digits, clamps and floors that whole cases seldom meet.
#include "sim/num/fixed_kernel.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "sim/num/fixed_steps.h"
#include "tests/support/fixed_random.h"
#include "tests/support/isa_test.h"
#include "tests/support/property.h"

namespace kvx::num::fixed {
namespace {

using test::FixedDraw;

const bool kSeeded = test::fix_properties("seed=20240131 max_success=1000");

// Numbers up to one that stands at an edge, which may be huge or below every floor.
std::vector<float> edge_numbers(FixedDraw& draw, size_t n, bool of_both_signs) {
  const float top =
      test::fixed_edge(draw) * draw.of({1.0f, 0x1p-20f, 0x1p-55f, 0x1p-66f, 0x1p-75f, 0x1p+12f});
  std::vector<float> x(n);
  for (float& v : x) {
    v = top * draw.of({1.0f, 0.5f, 0.25f});
    if (draw.one_in(3)) v = top * static_cast<float>(draw.below(1000)) / 1000;
    if (of_both_signs && draw.one_in(2)) v = -v;
  }
  return x;
}

std::span<const float, kTile> tile(const std::vector<float>& x) {
  return std::span<const float, kTile>(x.data(), kTile);
}

class FixedKernelTest : public test::IsaTest {};

TEST_P(FixedKernelTest, DigitsAndZerosOfTheQuery) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::arbitrary<uint32_t>());
    const int n = draw.of({32, 64, 96, 128, 160, 256});
    const std::vector<float> q = edge_numbers(draw, static_cast<size_t>(n), true);
    const std::vector<float> other = edge_numbers(draw, static_cast<size_t>(n), true);
    for (const float* s : {other.data(), static_cast<const float*>(nullptr)}) {
      const QueryDigits expected = query_digits(q, s);
      std::vector<int16_t> y(static_cast<size_t>(n));
      RC_ASSERT(kernels().query_digits(q.data(), s, n, y.data()) == expected.e);
      for (size_t j = 0; j < y.size(); ++j) RC_ASSERT(y[j] == expected.y[j]);
      RC_ASSERT(std::bit_cast<uint32_t>(kernels().zero_sum(q.data(), s, n)) ==
                std::bit_cast<uint32_t>(zero_sum(q, s)));
    }
  });
}

TEST_P(FixedKernelTest, Weights) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::arbitrary<uint32_t>());
    const float far = draw.of({1.0f, 60.0f, 200.0f, 3e6f});
    std::vector<float> x(kTile), clamped(kTile), p(kTile);
    std::array<bool, kTile> visible{};
    for (size_t i = 0; i < kTile; ++i) {
      x[i] = draw.normal() * far;
      if (draw.one_in(4)) x[i] = std::floor(x[i]) + 0.5f;  // ties
      if (draw.one_in(9)) x[i] = draw.of({-99.0f, -100.0f, -101.0f, 0.0f, -0.0f});
      visible[i] = i == 3 || !draw.one_in(3);
      clamped[i] = std::min(std::max(x[i], -0x1p+20f), 0x1p+20f);
      if (!visible[i]) x[i] = -std::numeric_limits<float>::infinity();
    }
    const Weights expected = weights(tile(clamped), visible);
    int32_t l;
    RC_ASSERT(kernels().weights(x.data(), p.data(), &l) == expected.m);
    RC_ASSERT(l == expected.l);
    for (size_t i = 0; i < kTile; ++i)
      RC_ASSERT(std::bit_cast<uint32_t>(p[i]) == std::bit_cast<uint32_t>(expected.p[i]));
  });
}

TEST_P(FixedKernelTest, DigitsAndZerosOfValues) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::arbitrary<uint32_t>());
    std::vector<float> p(kTile), scale = edge_numbers(draw, kTile, false);
    const std::vector<float> zero = edge_numbers(draw, kTile, true);
    const int low = draw.of({20, 0, -79});
    const float mantissa = draw.of({1.0f, 1.25f, 1.375f});
    for (float& x : p) x = draw.one_in(5) ? 0.0f : std::ldexp(mantissa, draw.of({low, 20}));
    const ValueDigits expected = value_digits(tile(p), tile(scale), tile(zero));
    std::vector<int16_t> digits(kTile);
    RC_ASSERT(kernels().value_digits(p.data(), scale.data(), digits.data()) == expected.eu);
    for (size_t i = 0; i < kTile; ++i) RC_ASSERT(digits[i] + 32768 == expected.digits[i]);
    const ZeroPart part = kernels().zero_part(p.data(), zero.data());
    RC_ASSERT(part.ez == expected.ez);
    RC_ASSERT(part.zi == expected.zi);
  });
}

INSTANTIATE_TEST_SUITE_P(Isa, FixedKernelTest, test::kEveryIsa, test::isa_name);

}  // namespace
}  // namespace kvx::num::fixed
