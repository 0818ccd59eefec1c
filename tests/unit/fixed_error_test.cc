// The error of arithmetic `fixed` against binary64 on the decoded values stays below the bound of
// fixed.md, section 5, and digits and sums stay in the ranges of section 3.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/num/fixed.h"
#include "sim/num/fixed_rows.h"
#include "sim/num/fixed_steps.h"
#include "tests/support/fixed_random.h"
#include "tests/support/property.h"

namespace kvx::num::fixed {
namespace {

const bool kSeeded = test::fix_properties();

using test::FixedCase;
using test::FixedDraw;
using test::FixedRange;
using test::FixedShape;

// Attention in binary64 over sealed rows [0, rows), K per channel, V per token in one group; and
// the bound of each channel's error.
struct Exact {
  std::vector<double> out, bound;
  double mean = 0;  // of sum p |v| over channels
};

Exact exact_attention(const FixedCase& c, int64_t rows) {
  const auto dim = static_cast<size_t>(c.dim);
  const double factor = 1.4426950408889634 / std::sqrt(static_cast<double>(c.dim));
  std::vector<double> x, error;
  for (int64_t t = 0; t < rows; ++t) {
    const size_t group = static_cast<size_t>(t / c.k.group) * dim;
    double sum = 0, codes = 0, size = 0, greatest = 0;
    for (size_t j = 0; j < dim; ++j) {
      const double code = c.k.codes[static_cast<size_t>(t) * dim + j];
      const double q = static_cast<double>(c.q[j]);
      const double y = q * static_cast<double>(c.k.scale[group + j]);
      const double z = q * static_cast<double>(c.k.zero[group + j]);
      sum += code * y + z;
      codes += code;
      size += code * std::fabs(y) + std::fabs(z);
      greatest = std::max(greatest, std::fabs(y));
    }
    x.push_back(sum * factor);
    const double digit = std::max(greatest * (1 + 0x1p-6), 0x1p-64) * 0x1p-15;
    error.push_back(factor * (digit * codes + 0x1p-20 * size));
  }
  const double top = *std::max_element(x.begin(), x.end());
  const double relative =
      std::exp2(*std::max_element(error.begin(), error.end())) * (1 + 0x1p-18) - 1;

  Exact exact;
  exact.out.assign(dim, 0);
  std::vector<double> size(dim), parts(dim), digits(dim);
  double total = 0, zeros = 0, small = 0;
  for (int64_t first = 0; first < rows; first += kTile) {
    const int64_t end = std::min<int64_t>(first + kTile, rows);
    double m = 0, weight = 0, zero = 0;
    std::vector<double> codes(dim);
    for (int64_t t = first; t < end; ++t) {
      const auto at = static_cast<size_t>(t);
      const double p = std::exp2(x[at] - top), s = static_cast<double>(c.v.scale[at]);
      const double z = static_cast<double>(c.v.zero[at]);
      total += p;
      m = std::max(m, p);
      weight = std::max(weight, p * s);
      zero = std::max(zero, std::fabs(z));
      for (size_t j = 0; j < dim; ++j) {
        const double code = c.v.codes[at * dim + j];
        exact.out[j] += p * (code * s + z);
        size[j] += p * std::fabs(code * s + z);
        parts[j] += p * (code * s + std::fabs(z));
        codes[j] += code;
      }
    }
    // The units of this tile: m is at most sqrt(2) of its greatest p, all within the error of p.
    m *= std::sqrt(2.0) * (1 + relative);
    weight = std::max(weight * (1 + relative), 0x1p-64 * m);
    for (size_t j = 0; j < dim; ++j) digits[j] += 0x1.001p-16 * weight * codes[j];
    zeros += 0x1p-14 * std::max(zero, 0x1p-64) * m;
    small += 0x1p-15 * m;
  }
  const int64_t spans = rows / (kTile * kSegmentTiles * kSpanSegments) + 1;
  const auto folds = static_cast<double>(2 * (kSegmentTiles + kSpanSegments + spans + 4));
  for (size_t j = 0; j < dim; ++j) {
    exact.out[j] /= total;
    const double out = std::fabs(exact.out[j]);
    exact.bound.push_back((2 * relative * (size[j] / total + out) + (digits[j] + zeros) / total +
                           small / total * out + folds * 0x1p-24 * parts[j] / total) *
                          1.5);  // products of the terms, where they are small
    exact.mean += size[j] / total / static_cast<double>(dim);
  }
  return exact;
}

TEST(FixedError, StaysBelowTheBound) {
  for (const int dim : {64, 128}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const FixedRange range : {FixedRange::kPlain, FixedRange::kOutliers}) {
        for (const int64_t rows : {1, 100, 1300, 9000}) {
          FixedDraw draw(static_cast<uint64_t>(bits * 1000 + dim + rows));
          FixedCase c = test::fixed_random_case(
              draw, {dim, rows, bits, bits, Along::kTokens, 128, dim, 0, range});
          for (float& x : c.q) x *= 0.5f;
          const std::vector<RowRead> all{{0, rows}};
          const std::vector<float> out = test::fixed_attend(&fixed::attend, c, all, all);
          const Exact exact = exact_attention(c, rows);
          double squares = 0;
          for (size_t j = 0; j < out.size(); ++j) {
            const double error = std::fabs(static_cast<double>(out[j]) - exact.out[j]);
            EXPECT_LE(error, exact.bound[j]) << dim << " " << bits << " " << rows << " " << j;
            squares += error * error;
          }
          // As in the table of section 5, on data alike.
          EXPECT_LE(std::sqrt(squares / dim),
                    (range == FixedRange::kPlain ? 2e-5 : 1e-4) * exact.mean)
              << dim << " " << bits << " " << rows;
        }
      }
    }
  }
}

TEST(FixedError, DigitsStayInRange) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::arbitrary<uint32_t>());
    std::vector<float> q(128);
    for (float& x : q) x = test::fixed_edge(draw) * (draw.one_in(2) ? 1.0f : -1.0f);
    for (const int32_t y : query_digits(q, nullptr).y) RC_ASSERT(std::abs(y) <= 32512);

    std::array<float, kTile> x{}, scale{}, zero{};
    std::array<bool, kTile> visible{};
    for (size_t i = 0; i < kTile; ++i) {
      x[i] = draw.one_in(3) ? 0.5f : static_cast<float>(draw.below(3)) * 0.4999f;
      scale[i] = test::fixed_edge(draw);
      zero[i] = test::fixed_edge(draw) * (draw.one_in(9) ? -1.0f : 1.0f);
      visible[i] = true;
    }
    const Weights w = weights(x, visible);
    for (const float p : w.p) RC_ASSERT(p <= 0x1.6a2p+21f);
    RC_ASSERT(w.l > 0 && w.l <= 128 * 0x2d4400);
    const ValueDigits v = value_digits(w.p, scale, zero);
    for (const int32_t p : v.digits) RC_ASSERT(p >= 0 && p <= 65535);
    RC_ASSERT(std::abs(v.zi) <= 32 * 0x2d4400);
  });
}

// The greatest sums: 8-bit codes, all 255, of 256 channels and of a tile's rows.
TEST(FixedError, GreatestSumsFit) {
  constexpr int kDim = 256;
  const float step = 0x1.fbfffep+0f;  // just below (2 - 2^-6)
  FixedCase c = test::fixed_page_case(kDim, 8, 128);
  std::fill(c.k.codes.begin(), c.k.codes.end(), uint8_t{255});
  std::fill(c.v.codes.begin(), c.v.codes.end(), uint8_t{255});
  std::fill(c.k.scale.begin(), c.k.scale.end(), 1.0f);
  std::fill(c.k.zero.begin(), c.k.zero.end(), 0.0f);
  std::fill(c.v.scale.begin(), c.v.scale.end(), 0x1.fffep+0f);
  std::fill(c.v.zero.begin(), c.v.zero.end(), 0.0f);
  for (const float sign : {1.0f, -1.0f}) {
    std::fill(c.q.begin(), c.q.end(), sign * step * 0x1p-8f);
    int64_t sum = 0;
    for (const int32_t y : query_digits(c.q, nullptr).y) sum += 255 * y;
    EXPECT_GE(std::abs(sum), int64_t{2120000000});
    EXPECT_LT(std::abs(sum), int64_t{1} << 31);
    const std::vector<RowRead> rows{{0, 128}};
    for (const auto attend : {&plain::attend, &fixed::attend})
      for (const float x : test::fixed_attend(attend, c, rows, rows))
        EXPECT_NEAR(x, 255 * 0x1.fffep+0f, 255 * 0x1p-14f);
  }
}

}  // namespace
}  // namespace kvx::num::fixed
