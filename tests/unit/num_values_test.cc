// The check values of ieee.md: equal bits, function by function.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"
#include "sim/num/rope.h"

namespace kvx::num {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
uint64_t bits(double x) { return std::bit_cast<uint64_t>(x); }
float f32(uint32_t b) { return std::bit_cast<float>(b); }
double f64(uint64_t b) { return std::bit_cast<double>(b); }

struct Value {
  uint32_t in;
  uint32_t out;
};

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(CheckValues, Exp2) {
  constexpr Value kValues[] = {{0x80000000, 0x3f800000}, {0xbe99999a, 0x3f4fefc6},
                               {0xbf000000, 0x3f3504f3}, {0xbf001bed, 0x3f34f743},
                               {0xc0490fdb, 0x3de8118d}, {0xc2fb3333, 0x00a8e5ae},
                               {0xc2fc0000, 0x00800000}, {0xc2fc0001, 0x00000000},
                               {0x42ffffff, 0x7f7fffa7}, {0x43000000, 0x7f800000}};
  for (const Value& v : kValues) EXPECT_EQ(bits(exp2(f32(v.in))), v.out) << std::hex << v.in;
  EXPECT_EQ(bits(exp2(-kInf)), 0u);
  EXPECT_EQ(exp2(kInf), kInf);
  EXPECT_TRUE(std::isnan(exp2(kNan)));
  for (int n = -126; n < 128; ++n) EXPECT_EQ(exp2(static_cast<float>(n)), std::ldexp(1.0f, n)) << n;
}

TEST(CheckValues, Exp) {
  constexpr Value kValues[] = {{0x80000000, 0x3f800000}, {0x3f800000, 0x402df854},
                               {0xbf800000, 0x3ebc5ab1}, {0xc1200000, 0x383e6bce},
                               {0xc27ada26, 0x1238154f}, {0x41f1636e, 0x5538fb0a},
                               {0xc2aeac4f, 0x00800026}, {0xc2aeac50, 0x00000000},
                               {0x42b17217, 0x7f7fff84}, {0x42b17218, 0x7f800000}};
  for (const Value& v : kValues) EXPECT_EQ(bits(exp(f32(v.in))), v.out) << std::hex << v.in;
  EXPECT_EQ(bits(exp(-kInf)), 0u);
  EXPECT_EQ(exp(kInf), kInf);
  EXPECT_TRUE(std::isnan(exp(kNan)));
}

TEST(CheckValues, Silu) {
  constexpr Value kValues[] = {
      {0x80000000, 0x80000000}, {0x3f800000, 0x3f3b26a8}, {0xbf800000, 0xbe89b2b1},
      {0x40490fdb, 0x4040bbb1}, {0xc1856f2b, 0xb57f71ed}, {0xc1a00000, 0xb3310d40},
      {0x42480000, 0x42480000}, {0xc2b17217, 0x82b1726d}, {0xc2b17218, 0x80000000},
      {0x00000000, 0x00000000}, {0x7f800000, 0x7f800000}};
  for (const Value& v : kValues) EXPECT_EQ(bits(silu(f32(v.in))), v.out) << std::hex << v.in;
  EXPECT_TRUE(std::isnan(silu(-kInf)));
  EXPECT_TRUE(std::isnan(silu(kNan)));
}

TEST(CheckValues, Rsqrt) {
  constexpr Value kValues[] = {
      {0x00000001, 0x64b504f3}, {0x00800000, 0x5f000000}, {0x3727c5ac, 0x439e1d28},
      {0x3f000000, 0x3fb504f3}, {0x3f80cab3, 0x3f7f363e}, {0x40000000, 0x3f3504f3},
      {0x40400000, 0x3f13cd3a}, {0x7f7fffff, 0x1f800001}, {0x80000000, 0xff800000},
      {0x00000000, 0x7f800000}, {0x7f800000, 0x00000000}};
  for (const Value& v : kValues) EXPECT_EQ(bits(rsqrt(f32(v.in))), v.out) << std::hex << v.in;
  EXPECT_TRUE(std::isnan(rsqrt(-1.0f)));
}

TEST(CheckValues, SinCosOfPhase) {
  struct {
    uint32_t phase, sin, cos;
  } constexpr kValues[] = {
      {0x00000001, 0x30c90fdb, 0x3f800000}, {0x0514b9ac, 0x3dfebc43, 0x3f7e0312},
      {0x12345678, 0x3edd3a58, 0x3f66de7f}, {0x1fffffff, 0x3f3504f3, 0x3f3504f3},
      {0x20000000, 0x3f3504f3, 0x3f3504f3}, {0x40000000, 0x3f800000, 0x80000000},
      {0x60000000, 0x3f3504f3, 0xbf3504f3}, {0x80000000, 0x80000000, 0xbf800000},
      {0x9abcdef0, 0xbf1c3279, 0xbf4ad37f}, {0xc0000000, 0xbf800000, 0x00000000},
      {0xffffffff, 0xb0c90fdb, 0x3f800000}};
  for (const auto& v : kValues) {
    const SinCos sc = sincos_phase(v.phase);
    EXPECT_EQ(bits(sc.sin), v.sin) << std::hex << v.phase;
    EXPECT_EQ(bits(sc.cos), v.cos) << std::hex << v.phase;
  }
}

TEST(CheckValues, Log64) {
  struct {
    double in;
    uint64_t out;
  } constexpr kValues[] = {{1.5, 0x3fd9f323ecbf984c},
                           {2, 0x3fe62e42fefa39ef},
                           {10, 0x40026bb1bbb55515},
                           {0x1.6666666666666p-1, 0xbfd6d3c324e13f50},
                           {10000, 0x40226bb1bbb55515},
                           {128256, 0x402786087e2da908},
                           {0x1.0000000000001p+0, 0x3cb0000000000000},
                           {1, 0}};
  for (const auto& v : kValues) EXPECT_EQ(bits(log64(v.in)), v.out) << v.in;
  EXPECT_TRUE(std::isnan(log64(-1)));
  EXPECT_TRUE(std::isnan(log64(std::numeric_limits<double>::quiet_NaN())));
  EXPECT_EQ(log64(0.0), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(log64(-0.0), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(log64(HUGE_VAL), HUGE_VAL);
  EXPECT_NEAR(log64(0x1p-1074), -1074 * 0.6931471805599453, 1e-12);
}

TEST(CheckValues, Exp2Of64) {
  struct {
    uint64_t in, out;
  } constexpr kValues[] = {
      {0xbfe0000000000000, 0x3fe6a09e667f3bcc}, {0xbff0000000000000, 0x3fe0000000000000},
      {0xc02a800000000000, 0x3f1ae89f995ad3ae}, {0xbfb999999999999a, 0x3feddb680117ab12},
      {0xc033ee7b471b3a95, 0x3eb0c6f7a0b5ed8e}, {0x3fd3333333333333, 0x3ff3b2c47bff8329}};
  for (const auto& v : kValues) EXPECT_EQ(bits(exp2_64(f64(v.in))), v.out) << std::hex << v.in;
}

TEST(CheckValues, RopeTable) {
  struct {
    double theta;
    int dim, i;
    uint64_t step;
    int64_t position;
    uint32_t phase, sin, cos;
  } constexpr kValues[] = {
      {1e4, 64, 0, 0x28be60db93910600, 1, 0x28be60db, 0x3f576aa5, 0x3f0a5140},
      {1e4, 80, 0, 0x28be60db93910600, 1, 0x28be60db, 0x3f576aa5, 0x3f0a5140},
      {1e4, 64, 1, 0x1e8dae29db02bd00, 2047, 0x4ee3a0ae, 0x3f6f188c, 0xbeb6f758},
      {1e4, 64, 31, 0x00016412e4ffae4c, 2047, 0x0b1f3315, 0x3e8a0848, 0x3f768576},
      {5e5, 128, 1, 0x2130c415f3515000, 131071, 0x66fb228c, 0x3f138128, 0xbf513ba1},
      {5e5, 128, 40, 0x0002dc4a879fd26f, 131071, 0xb89232f5, 0xbf7bc1a2, 0xbe39ad12},
      {1e6, 128, 63, 0x00000350430ff7cb, 32767, 0x01a81e37, 0x3d268140, 0x3f7fc9d4}};
  for (const auto& v : kValues) {
    const std::vector<uint64_t> steps = rope_steps(v.dim, v.theta, {});
    const size_t i = static_cast<size_t>(v.i);
    ASSERT_EQ(steps.size(), static_cast<size_t>(v.dim) / 2);
    EXPECT_EQ(steps[i], v.step);
    EXPECT_EQ(rope_phase(steps[i], v.position), v.phase);
    std::vector<float> sin(steps.size()), cos(steps.size());
    rope_table(steps, v.position, sin, cos);
    EXPECT_EQ(bits(sin[i]), v.sin);
    EXPECT_EQ(bits(cos[i]), v.cos);
  }
}

TEST(CheckValues, RopeDivisorsDivideTheInverseFrequencies) {
  // A divisor of 8 is what the llama3 rule does to the slow frequencies (i = 40 of theta 5e5, d
  // 128).
  const std::vector<float> divisors(64, 8.0f);
  EXPECT_EQ(rope_steps(128, 5e5, divisors)[40], 0x00005b8950f3fa4dull);
}

TEST(CheckValues, RopeStepsOfLlama3Scaling) {
  const RopeScaling llama3{
      .rule = RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 8192};
  const std::vector<uint64_t> steps = rope_steps(128, 5e5, {}, llama3);
  EXPECT_EQ(steps[1], 0x2130c415f3515000ull);  // kept
  EXPECT_EQ(steps[28], 0x00217f20f7661d24ull);
  EXPECT_EQ(steps[31], 0x0008efad840323bbull);  // between
  EXPECT_EQ(steps[40], 0x00005b8950f3fa4dull);  // divided by 8
}

// GGUF files of Llama 3 hold what its scaling divides by, rounded to binary32.
TEST(CheckValues, Llama3ScalingIsNearItsDivisors) {
  const RopeScaling llama3{
      .rule = RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 8192};
  const std::vector<uint64_t> scaled = rope_steps(128, 5e5, {}, llama3);
  const std::vector<uint64_t> plain = rope_steps(128, 5e5, {});
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i)
    divisors.push_back(
        static_cast<float>(static_cast<double>(plain[i]) / static_cast<double>(scaled[i])));
  const std::vector<uint64_t> divided = rope_steps(128, 5e5, divisors);
  int between = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double step = static_cast<double>(scaled[i]);
    EXPECT_LE(std::fabs(static_cast<double>(divided[i]) - step), step * 0x1p-23) << i;
    if (divisors[i] == 1 || divisors[i] == 8) {
      EXPECT_EQ(divided[i], scaled[i]) << i;
    } else {
      ++between;
    }
  }
  EXPECT_GT(between, 2);
}

TEST(CheckValues, LinearScalingDividesTheInverseFrequencies) {
  const RopeScaling linear{.rule = RopeScaling::Rule::kLinear, .factor = 8};
  EXPECT_EQ(rope_steps(128, 5e5, {}, linear)[40], 0x00005b8950f3fa4dull);
  const std::vector<float> divisors(64, 8.0f);
  EXPECT_EQ(rope_steps(128, 5e5, {}, linear), rope_steps(128, 5e5, divisors));
  // Divisors take the place of scaling.
  EXPECT_EQ(rope_steps(128, 5e5, divisors, linear), rope_steps(128, 5e5, divisors));
}

TEST(CheckValues, RopeRotatesHalves) {
  const std::array<float, 2> sin = {f32(0x3f576aa5), f32(0x3e8a0848)};
  const std::array<float, 2> cos = {f32(0x3f0a5140), f32(0x3f768576)};
  const std::array<float, 4> before = {1.5f, -0.3f, 0.7f, 2.25f};
  std::array<float, 4> row = before;
  rope_rotate(row, sin, cos);
  for (size_t i = 0; i < 2; ++i) {
    const float a = before[i];
    const float b = before[i + 2];
    EXPECT_EQ(bits(row[i]), bits(std::fma(a, cos[i], -(b * sin[i]))));
    EXPECT_EQ(bits(row[i + 2]), bits(std::fma(b, cos[i], a * sin[i])));
    EXPECT_NEAR(row[i] * row[i] + row[i + 2] * row[i + 2], a * a + b * b, 1e-6);
  }
}

std::vector<float> x_values(int n) {
  std::vector<float> x;
  for (int i = 0; i < n; ++i) x.push_back(static_cast<float>((37 * i) % 101 - 50) / 7);
  return x;
}

std::vector<float> y_values(int n) {
  std::vector<float> y;
  for (int i = 0; i < n; ++i) y.push_back(static_cast<float>((53 * i) % 89 - 44) / 13);
  return y;
}

struct OrderRow {
  int n;
  uint32_t dot, sum, sum_squares, softmax, rms_norm;
  uint64_t nll, kl;
  int64_t argmax;
};
constexpr OrderRow kOrders[] = {
    {1, 0x41c16817, 0xc0e49249, 0x424c14e6, 0x3f800000, 0x40589d88, 0, 0, 0},
    {127, 0x42763de9, 0xc13b6db6, 0x450b00a7, 0x35375c3b, 0x406a4734, 0x402c64b1ad8c3f84,
     0x4006818fbf2b900e, 30},
    {129, 0x424da05f, 0xc0b24924, 0x450d0e0a, 0x3cd490b0, 0xc0216ae0, 0x400d369bf859c48c,
     0x4006b09be501cd0c, 30},
    {512, 0xc26021b1, 0xc1324919, 0x460b14e6, 0x349aff18, 0x3fac0c32, 0x402e1da08d4834e0,
     0x400a8b01d4240398, 30},
    {513, 0xc2550e00, 0xc1224919, 0x460b18e6, 0x386f22a4, 0x3f2a2e12, 0x40238b5ee66b4b06,
     0x400a980524513f88, 30},
    {1537, 0x42cd13c1, 0xc076db14, 0x46d05c49, 0x38fcf821, 0x3f731f5f, 0x40220baf71a08deb,
     0x40094a9bae31a678, 30},
    {4097, 0x41fd195c, 0xc0fb6d42, 0x478ad1ca, 0x3667d69a, 0xbe11e3cc, 0x402926cd7b0cc46e,
     0x400940b8e8557b36, 30}};

TEST(CheckValues, Orders) {
  for (const OrderRow& row : kOrders) {
    SCOPED_TRACE(row.n);
    const std::vector<float> x = x_values(row.n);
    const std::vector<float> y = y_values(row.n);
    std::vector<float> out(x.size());
    EXPECT_EQ(bits(plain::dot(x, y)), row.dot);
    EXPECT_EQ(bits(plain::sum(x)), row.sum);
    EXPECT_EQ(bits(sum(x)), row.sum);
    EXPECT_EQ(bits(plain::sum_squares(x)), row.sum_squares);
    EXPECT_EQ(bits(sum_squares(x)), row.sum_squares);
    plain::softmax(x, out);
    EXPECT_EQ(bits(out.back()), row.softmax);
    softmax(x, out);
    EXPECT_EQ(bits(out.back()), row.softmax);
    plain::rms_norm(x, y, 1e-5f, out);
    EXPECT_EQ(bits(out.back()), row.rms_norm);
    rms_norm(x, y, 1e-5f, out);
    EXPECT_EQ(bits(out.back()), row.rms_norm);
    EXPECT_EQ(bits(nll(plain::log_sum_exp(x), x.back())), row.nll);
    EXPECT_EQ(bits(nll(log_sum_exp(x), x.back())), row.nll);
    EXPECT_EQ(bits(plain::kl_divergence(x, log_sum_exp(x), y, log_sum_exp(y))), row.kl);
    EXPECT_EQ(bits(kl_divergence(x, log_sum_exp(x), y, log_sum_exp(y))), row.kl);
    EXPECT_EQ(plain::argmax(x), row.argmax);
    EXPECT_EQ(argmax(x), row.argmax);
  }
}

TEST(CheckValues, AttentionScale) {
  constexpr struct {
    int dim;
    uint32_t scale;
  } kScales[] = {
      {64, 0x3e38aa3b}, {80, 0x3e252b5c}, {96, 0x3e16c740}, {128, 0x3e0293ee}, {256, 0x3db8aa3b}};
  for (const auto& v : kScales) EXPECT_EQ(bits(attention_scale(v.dim)), v.scale) << v.dim;
}

TEST(CheckValues, Attention) {
  constexpr int kDim = 64;
  constexpr int kRows = 1000;
  std::vector<float> k, v, q;
  for (int i = 0; i < kDim * kRows; ++i) {
    k.push_back(static_cast<float>((37 * i) % 101 - 50) / 16);
    v.push_back(static_cast<float>((53 * i) % 89 - 44) / 16);
  }
  for (int j = 0; j < kDim; ++j) q.push_back(static_cast<float>((29 * j) % 31 - 15) / 7);
  const float score = plain::dot(q, std::span(k).first(kDim)) * attention_scale(kDim);
  EXPECT_EQ(bits(score), 0xbf4c7354u);

  constexpr struct {
    int first, end;
    uint32_t out0, out63;
  } kCases[] = {{0, 1, 0xc0300000, 0x3e000000},
                {0, 256, 0xbeace414, 0x3dc041bd},
                {0, 257, 0xbeab747d, 0x3dbc407e},
                {0, 1000, 0xbd3c2bb1, 0x3d34da03},
                {300, 1000, 0x3cd6610a, 0xbcc272a7}};
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.end);
    std::vector<AttentionRow> rows;
    for (int t = c.first; t < c.end; ++t)
      rows.push_back({t, &k[size_t(t) * kDim], &v[size_t(t) * kDim]});
    std::vector<float> out(kDim);
    plain::attend(q, rows, out);
    EXPECT_EQ(bits(out[0]), c.out0);
    EXPECT_EQ(bits(out[63]), c.out63);
  }
  std::vector<float> nothing(kDim, 7.0f);
  plain::attend(q, {}, nothing);
  for (const float value : nothing) EXPECT_EQ(bits(value), 0u);
}

}  // namespace
}  // namespace kvx::num
