// Every elementary function against a wider one of the C library: the error bounds of ieee.md hold.
// Built twice: with a wide stride over the patterns (quick), and with a narrow one (slow).
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "sim/gen/random.h"
#include "sim/num/elementary.h"
#include "sim/num/rope.h"

namespace kvx::num {
namespace {

constexpr uint32_t kStride = KVX_STRIDE;

float f32(uint32_t b) { return std::bit_cast<float>(b); }
uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

// |got - exact| in units in the last place of exact, for `digits` binary digits.
double ulps(double got, double exact, int digits = 24) {
  int exponent;
  std::frexp(exact, &exponent);
  return std::ldexp(std::abs(got - exact), digits - exponent);
}
long double ulps64(double got, long double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  return std::ldexp(std::abs(static_cast<long double>(got) - exact), 53 - exponent);
}

// The greatest of error(x) over the patterns [first, last], every kStride-th, and both ends.
template <class Error>
double worst(uint32_t first, uint32_t last, Error error) {
  double greatest = 0;
  const auto take = [&](uint32_t pattern) {
    const double e = error(f32(pattern));
    if (!(e <= greatest)) greatest = e;  // NaN stays
  };
  for (uint64_t pattern = first; pattern <= last; pattern += kStride)
    take(static_cast<uint32_t>(pattern));
  take(last);
  return greatest;
}

// The bounds are those of ieee.md; half a unit of their last digit is allowed for.
double exp2_error(float x) {
  return ulps(static_cast<double>(exp2(x)), std::exp2(static_cast<double>(x)));
}
TEST(Accuracy, Exp2) {
  EXPECT_LE(worst(0, bits(127.99999f), exp2_error), 0.7945);
  EXPECT_LE(worst(bits(-0.0f), bits(-126.0f), exp2_error), 0.7945);
  EXPECT_GT(exp2_error(f32(0xbf001bed)),
            0.787);  // the worst below zero: the measure itself is right
}

double exp_error(float x) {
  return ulps(static_cast<double>(exp(x)), std::exp(static_cast<double>(x)));
}
TEST(Accuracy, Exp) {
  EXPECT_LE(worst(0, 0x42b17217, exp_error), 0.9985);
  EXPECT_LE(worst(bits(-0.0f), 0xc2aeac4f, exp_error), 0.9985);
  EXPECT_GT(exp_error(f32(0xc27ada26)), 0.99);
}

double silu_error(float x) {
  const double wide = static_cast<double>(x);
  return wide == 0 ? 0 : ulps(static_cast<double>(silu(x)), wide / (1 + std::exp(-wide)));
}
TEST(Accuracy, Silu) {
  EXPECT_LE(worst(bits(0x1p-100f), bits(3e38f), silu_error), 1.515);
  EXPECT_LE(worst(bits(-0x1p-100f), bits(-87.0f), silu_error), 2.395);
  EXPECT_GT(silu_error(f32(0xc1856f2b)), 2.38);
}

double rsqrt_error(float x) {
  return ulps(static_cast<double>(rsqrt(x)), 1 / std::sqrt(static_cast<double>(x)));
}
TEST(Accuracy, Rsqrt) {
  EXPECT_LE(worst(1, 0x7f7fffff, rsqrt_error), 1.4915);
  EXPECT_GT(rsqrt_error(f32(0x3f80cab3)), 1.49);
}

TEST(Accuracy, SinCosOfPhase) {
  double worst_sin = 0, worst_cos = 0, worst_absolute = 0;
  constexpr long double kTurn = 6.283185307179586476925286766559L;
  for (uint64_t i = 0; i < (uint64_t{1} << 30); i += kStride) {
    const uint32_t phase = static_cast<uint32_t>(i) - 0x20000000u;  // the quadrant around 0
    const SinCos sc = sincos_phase(phase);
    const long double angle =
        kTurn * 0x1p-32L * static_cast<long double>(static_cast<int32_t>(phase));
    const double sin = static_cast<double>(std::sin(angle));
    const double cos = static_cast<double>(std::cos(angle));
    if (phase != 0) worst_sin = std::max(worst_sin, ulps(static_cast<double>(sc.sin), sin));
    worst_cos = std::max(worst_cos, ulps(static_cast<double>(sc.cos), cos));
    worst_absolute = std::max({worst_absolute, std::abs(static_cast<double>(sc.sin) - sin),
                               std::abs(static_cast<double>(sc.cos) - cos)});
  }
  EXPECT_LE(worst_sin, 2.405);
  EXPECT_LE(worst_cos, 1.165);
  EXPECT_LE(worst_absolute, 9.85e-8);
  EXPECT_GT(worst_sin, 1.5);
}

TEST(Accuracy, SinCosQuadrantsAreExactTurns) {
  for (uint64_t i = 0; i < (uint64_t{1} << 30); i += kStride) {
    const uint32_t phase = static_cast<uint32_t>(i) - 0x20000000u;
    const SinCos a = sincos_phase(phase);
    const SinCos b = sincos_phase(phase + 0x40000000u);
    const SinCos c = sincos_phase(phase + 0x80000000u);
    ASSERT_EQ(bits(b.sin), bits(a.cos));
    ASSERT_EQ(bits(b.cos), bits(-a.sin));
    ASSERT_EQ(bits(c.sin), bits(-a.sin));
    ASSERT_EQ(bits(c.cos), bits(-a.cos));
  }
}

TEST(Accuracy, Log64) {
  const gen::Source source{1, 0};
  long double greatest = 0;
  for (uint64_t i = 0; i < 200000000 / kStride; ++i) {
    const double x = i % 2 == 0 ? 0.5 + source.uniform(i)
                                : std::ldexp(1 + source.uniform(i),
                                             static_cast<int>(source.words(i)[3] % 2098) - 1074);
    if (x == 1) continue;
    greatest = std::max(greatest, ulps64(log64(x), std::log(static_cast<long double>(x))));
  }
  EXPECT_LE(greatest, 2.1L);
  EXPECT_GT(greatest, 0.5L);
}

TEST(Accuracy, Exp2Of64) {
  const gen::Source source{2, 0};
  long double greatest = 0;
  for (uint64_t i = 0; i < 200000000 / kStride; ++i) {
    const double x = -1000 * source.uniform(i);
    greatest = std::max(greatest, ulps64(exp2_64(x), std::exp2(static_cast<long double>(x))));
  }
  EXPECT_LE(greatest, 0.875L);
  EXPECT_GT(greatest, 0.5L);
}

TEST(Accuracy, RopeAgainstTheExactAngle) {
  constexpr long double kTurn = 6.283185307179586476925286766559L;
  double worst_absolute = 0;
  for (const double theta : {1e4, 5e5, 1e6})
    for (const int dim : {64, 128}) {
      const std::vector<uint64_t> steps = rope_steps(dim, theta, {});
      std::vector<float> sin(steps.size()), cos(steps.size());
      for (int64_t position = 0; position <= 131071; position += 1 + kStride / 2) {
        rope_table(steps, position, sin, cos);
        for (size_t i = 0; i < steps.size(); ++i) {
          const long double inverse =
              std::pow(static_cast<long double>(theta), -2.0L * static_cast<long double>(i) / dim);
          const long double angle =
              std::remainder(static_cast<long double>(position) * inverse, kTurn);
          worst_absolute = std::max(
              {worst_absolute,
               std::abs(static_cast<double>(sin[i]) - static_cast<double>(std::sin(angle))),
               std::abs(static_cast<double>(cos[i]) - static_cast<double>(std::cos(angle)))});
        }
      }
    }
  EXPECT_LE(worst_absolute, 9.85e-8);
  EXPECT_GT(worst_absolute, 1e-8);
}

}  // namespace
}  // namespace kvx::num
