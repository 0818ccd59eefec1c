// What fixed.md leaves free: sums of a tile backwards and in byte planes, segments one by one in
// any order, spans folded ascending at the end, as kernels do it.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "sim/num/fixed.h"
#include "sim/num/fixed_rows.h"
#include "sim/num/fixed_steps.h"
#include "tests/support/fixed_random.h"

namespace kvx::num::fixed {
namespace {

using test::FixedCase;
using test::FixedDraw;
using test::FixedRange;

// Rows [begin, end) of one segment: K per channel in groups of a tile, V in one group a token.
class Segments {
 public:
  Segments(const FixedCase& c, int64_t begin, int64_t end) : c_(c), begin_(begin), end_(end) {}

  Partial segment(int64_t number) const {
    Partial part(1, c_.dim);
    const int64_t first = number * kSegmentTiles;
    for (int64_t tile = first; tile < first + kSegmentTiles; ++tile)
      if (tile * kTile < end_ && (tile + 1) * kTile > begin_) add(tile, part);
    return part;
  }

 private:
  size_t at(int64_t row, size_t j) const {
    return static_cast<size_t>(row) * static_cast<size_t>(c_.dim) + j;
  }

  void add(int64_t tile, Partial& part) const {
    const auto dim = static_cast<size_t>(c_.dim);
    const QueryDigits q = query_digits(c_.q, c_.k.scale.data() + at(tile, 0));
    const float factor = score_factor(c_.dim);
    const float zc = zero_sum(c_.q, c_.k.zero.data() + at(tile, 0)) * factor;
    std::array<float, kTile> x{}, scale{}, zero{};
    std::array<bool, kTile> visible{};
    for (size_t i = 0; i < kTile; ++i) {
      const int64_t row = tile * kTile + static_cast<int64_t>(i);
      if (row < begin_ || row >= end_) continue;
      int32_t high = 0, low = 0;
      for (size_t j = dim; j-- > 0;) {
        const int32_t hi = (q.y[j] + 128) >> 8;
        high += c_.k.codes[at(row, j)] * hi;
        low += c_.k.codes[at(row, j)] * (q.y[j] - 256 * hi);
      }
      const float s = std::fma(static_cast<float>(256 * high + low), factor * power(q.e - 14), zc);
      x[i] = std::min(std::max(s, -0x1p+20f), 0x1p+20f);
      visible[i] = true;
      scale[i] = c_.v.scale[static_cast<size_t>(row)];
      zero[i] = c_.v.zero[static_cast<size_t>(row)];
    }
    const Weights w = weights(x, visible);
    int32_t l = 0;
    for (size_t i = kTile; i-- > 0;) l += nearest(w.p[i]);
    part.raise(w.m);
    const int down = w.m - part.m;
    part.l = std::fma(static_cast<float>(l), power(down - 21), part.l);
    const ValueDigits v = value_digits(w.p, scale, zero);
    part.z[0] = std::fma(static_cast<float>(v.zi), power(down + v.ez - 18), part.z[0]);
    for (size_t j = 0; j < dim; ++j) {
      int32_t high = 0, low = 0;
      for (size_t i = kTile; i-- > 0;) {
        if (!visible[i]) continue;
        const int32_t code = c_.v.codes[at(tile * kTile + static_cast<int64_t>(i), j)];
        high += (v.digits[i] >> 8) * code;
        low += (v.digits[i] & 255) * code;
      }
      part.o[j] =
          std::fma(static_cast<float>(256 * high + low), power(down + v.eu - 15), part.o[j]);
    }
  }

  const FixedCase& c_;
  const int64_t begin_, end_;
};

TEST(FixedOrders, SegmentsComeInAnyOrder) {
  for (const FixedRange range :
       {FixedRange::kPlain, FixedRange::kOutliers, FixedRange::kExtreme, FixedRange::kClamped}) {
    FixedDraw draw(static_cast<uint64_t>(range));
    const FixedCase c =
        test::fixed_random_case(draw, {64, 20000, 4, 8, Along::kTokens, 128, 64, 0, range});
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 20000}, {0, 1}, {700, 9000}, {8192, 16384}}) {
      const Segments segments(c, begin, end);
      const int64_t count = (end + kTile * kSegmentTiles - 1) / (kTile * kSegmentTiles);
      std::vector<int64_t> order;
      for (int64_t i = 0; i < count; ++i) order.push_back(i);
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[static_cast<size_t>(draw.below(static_cast<int>(i)))]);
      std::vector<Partial> parts(static_cast<size_t>(count), Partial(1, c.dim));
      for (const int64_t i : order) parts[static_cast<size_t>(i)] = segments.segment(i);

      Partial all(1, c.dim), span(1, c.dim);
      for (size_t i = 0; i < parts.size(); ++i) {
        span.fold(parts[i]);
        if (i % kSpanSegments != kSpanSegments - 1 && i + 1 != parts.size()) continue;
        all.fold(span);
        span.clear();
      }
      std::vector<float> out(static_cast<size_t>(c.dim));
      all.out(out);
      const std::vector<RowRead> rows{{begin, end - begin}};
      const std::vector<float> expected = test::fixed_attend(&plain::attend, c, rows, rows);
      for (size_t j = 0; j < out.size(); ++j)
        ASSERT_EQ(std::bit_cast<uint32_t>(out[j]), std::bit_cast<uint32_t>(expected[j]))
            << begin << " " << end << " " << j;
    }
  }
}

}  // namespace
}  // namespace kvx::num::fixed
