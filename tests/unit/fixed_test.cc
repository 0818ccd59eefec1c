// Arithmetic `fixed`: the vectorised attention equals the definition bit for bit, and what
// fixed.md says moves no bit moves none.
#include "sim/num/fixed.h"

#include <gtest/gtest.h>

#include <bit>
#include <stdexcept>
#include <vector>

#include "sim/num/fixed_steps.h"
#include "tests/support/fixed_random.h"
#include "tests/support/isa_test.h"
#include "tests/support/property.h"

namespace kvx::num::fixed {
namespace {

using test::FixedCase;
using test::FixedDraw;
using test::FixedRange;
using test::FixedShape;

const bool kSeeded = test::fix_properties("seed=20240131 max_success=40");

std::vector<uint32_t> patterns(const std::vector<float>& x) {
  std::vector<uint32_t> bits;
  for (const float v : x) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

FixedShape random_shape(FixedDraw& draw) {
  FixedShape s{};
  s.dim = draw.of({32, 64, 64, 80, 96, 128, 128, 256, 8});
  s.rows = 1 + draw.below(draw.of({20, 300, 2500}));
  s.k_bits = draw.of({2, 3, 4, 8, 1 + draw.below(8)});
  s.v_bits = draw.of({2, 3, 4, 8, 1 + draw.below(8)});
  s.k_along = draw.of({Along::kTokens, Along::kTokens, Along::kChannels});
  const int narrow = s.dim % 32 == 0 ? 32 : s.dim / 2;
  s.k_group = s.k_along == Along::kTokens ? draw.of({32, 64, 128, 7}) : draw.of({narrow, s.dim});
  s.v_group = draw.of({narrow, s.dim, s.dim});
  s.sink = draw.one_in(3) ? draw.below(static_cast<int>(std::min<int64_t>(s.rows, 200))) : 0;
  s.range = draw.of(
      {FixedRange::kPlain, FixedRange::kOutliers, FixedRange::kExtreme, FixedRange::kClamped});
  return s;
}

// Queries of one KV head with reads of their own.
struct Batch {
  std::vector<std::vector<float>> q;
  std::vector<std::vector<RowRead>> k, v;

  Batch(FixedDraw& draw, const FixedShape& s, const FixedCase& c, int count) {
    for (int i = 0; i < count; ++i) {
      q.push_back(test::fixed_query(draw, s));
      const auto below = [&draw](int64_t n) {
        return static_cast<int64_t>(draw.below(static_cast<int>(n)));
      };
      const int64_t begin = draw.one_in(4) ? below(s.rows) : 0;
      const int64_t end = draw.one_in(8) ? begin : begin + 1 + below(s.rows - begin);
      const int64_t k_end = draw.one_in(3) ? below(end + 1) : end;
      const int64_t v_end = draw.one_in(3) ? below(end + 1) : end;
      k.push_back(test::fixed_reads(draw, c.exact_k.data(), s.dim, begin, end, s.sink, k_end));
      v.push_back(test::fixed_reads(draw, c.exact_v.data(), s.dim, begin, end, s.sink, v_end));
      if (k.back().size() > 2 && k.back().size() == v.back().size() && draw.one_in(2)) {
        // A hole, where both sides are cut alike.
        if (k.back()[1].first == v.back()[1].first && k.back()[1].count == v.back()[1].count) {
          k.back().erase(k.back().begin() + 1);
          v.back().erase(v.back().begin() + 1);
        }
      }
    }
  }

  std::vector<float> attend(test::FixedAttend function, const Head& head, size_t begin,
                            size_t end) const {
    const auto dim = static_cast<size_t>(head.dim);
    std::vector<float> out((end - begin) * dim, -3.0f);
    std::vector<Query> queries;
    for (size_t i = begin; i < end; ++i)
      queries.push_back({q[i].data(), k[i], v[i], out.data() + (i - begin) * dim});
    function(head, queries);
    return out;
  }
};

class FixedTest : public test::IsaTest {};

TEST_P(FixedTest, EqualsTheDefinition) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::inRange<uint64_t>(0, 1u << 30));
    const FixedShape s = random_shape(draw);
    const FixedCase c = test::fixed_random_case(draw, s);
    const size_t count = 1 + static_cast<size_t>(draw.below(5));
    const Batch batch(draw, s, c, static_cast<int>(count));
    const std::vector<float> expected = batch.attend(&plain::attend, c.head(), 0, count);
    RC_ASSERT(patterns(batch.attend(&fixed::attend, c.head(), 0, count)) == patterns(expected));
  });
}

TEST_P(FixedTest, CompanyChangesNothing) {
  test::check_property([] {
    FixedDraw draw(*rc::gen::inRange<uint64_t>(0, 1u << 30));
    const FixedShape s = random_shape(draw);
    const FixedCase c = test::fixed_random_case(draw, s);
    const Batch batch(draw, s, c, 4);
    const std::vector<float> all = batch.attend(&fixed::attend, c.head(), 0, 4);
    const auto dim = static_cast<int64_t>(s.dim);
    for (int64_t i = 0; i < 4; ++i) {
      const std::vector<float> row(all.begin() + i * dim, all.begin() + (i + 1) * dim);
      const auto at = static_cast<size_t>(i);
      RC_ASSERT(patterns(batch.attend(&fixed::attend, c.head(), at, at + 1)) == patterns(row));
    }
  });
}

// Every kind of range, over several spans.
TEST_P(FixedTest, LongContexts) {
  for (const FixedRange range :
       {FixedRange::kPlain, FixedRange::kOutliers, FixedRange::kExtreme, FixedRange::kClamped}) {
    for (const int group : {32, 128}) {
      FixedDraw draw(static_cast<uint64_t>(range) * 2 + (group == 32 ? 1 : 0));
      const FixedShape s{64, 17000, 2, 4, Along::kTokens, group, 64, 4, range};
      const FixedCase c = test::fixed_random_case(draw, s);
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 17000},
                                       {4, 8192},
                                       {300, 8193},
                                       {8191, 17000},
                                       {16384, 16896}}) {
        const auto k = test::fixed_reads(draw, c.exact_k.data(), 64, begin, end, 4, end - 128);
        const auto v = test::fixed_reads(draw, c.exact_v.data(), 64, begin, end, 4, end - 100);
        ASSERT_EQ(patterns(test::fixed_attend(&fixed::attend, c, k, v)),
                  patterns(test::fixed_attend(&plain::attend, c, k, v)))
            << begin << " " << end;
      }
    }
  }
}

TEST_P(FixedTest, WhatIsStoredBehindChangesNothing) {
  const FixedShape s{64, 1500, 4, 2, Along::kTokens, 128, 32, 0, FixedRange::kOutliers};
  FixedDraw draw(5);
  FixedCase c = test::fixed_random_case(draw, s);
  const std::vector<RowRead> rows{{0, 1000}};
  const std::vector<float> before = test::fixed_attend(&fixed::attend, c, rows, rows);
  for (size_t i = 1000 * 64; i < c.k.codes.size(); ++i) c.k.codes[i] ^= 15;
  for (size_t i = 1000 * 64; i < c.v.codes.size(); ++i) c.v.codes[i] ^= 3;
  for (size_t i = 1000 * 2; i < c.v.scale.size(); ++i) c.v.scale[i] = c.v.zero[i] = 60000;
  EXPECT_EQ(patterns(test::fixed_attend(&fixed::attend, c, rows, rows)), patterns(before));
}

// Sums inside a tile have no order: blocks of four rows change places.
TEST_P(FixedTest, FourRowsChangePlacesInsideATile) {
  for (const FixedRange range : {FixedRange::kPlain, FixedRange::kExtreme}) {
    const FixedShape s{128, 128 * 9, 4, 4, Along::kTokens, 128, 128, 0, range};
    FixedDraw draw(6);
    FixedCase c = test::fixed_random_case(draw, s);
    const std::vector<RowRead> rows{{0, s.rows}};
    const std::vector<float> before = test::fixed_attend(&fixed::attend, c, rows, rows);
    for (int64_t tile = 0; tile < s.rows; tile += 128) {
      for (int64_t a = 0; a < 128; a += 4) {
        const int64_t b = 4 * draw.below(32);
        for (int64_t i = 0; i < 4; ++i) {
          const auto x = static_cast<size_t>(tile + a + i), y = static_cast<size_t>(tile + b + i);
          for (size_t j = 0; j < 128; ++j) {
            std::swap(c.k.codes[x * 128 + j], c.k.codes[y * 128 + j]);
            std::swap(c.v.codes[x * 128 + j], c.v.codes[y * 128 + j]);
          }
          std::swap(c.v.scale[x], c.v.scale[y]);
          std::swap(c.v.zero[x], c.v.zero[y]);
        }
      }
    }
    EXPECT_EQ(patterns(test::fixed_attend(&fixed::attend, c, rows, rows)), patterns(before));
  }
}

// Rows decide by their number inside a span: a whole span further on, the same bits.
TEST_P(FixedTest, RowsOneSpanFurtherOn) {
  const FixedShape s{64, 3000, 2, 2, Along::kTokens, 32, 64, 0, FixedRange::kOutliers};
  FixedDraw draw(7);
  FixedCase c = test::fixed_random_case(draw, s);
  const std::vector<RowRead> here{{0, s.rows}}, further{{8192, s.rows}};
  const std::vector<float> before = test::fixed_attend(&fixed::attend, c, here, here);
  c.k.first = c.v.first = 8192;
  EXPECT_EQ(patterns(test::fixed_attend(&fixed::attend, c, further, further)), patterns(before));
}

TEST_P(FixedTest, RefusesBrokenRules) {
  const FixedCase c = test::fixed_page_case(64, 2, 10);
  const std::vector<RowRead> rows{{0, 10}}, fewer{{0, 9}}, again{{0, 5}, {4, 6}};
  const auto refuses = [](const FixedCase& bad, const std::vector<RowRead>& k,
                          const std::vector<RowRead>& v) {
    for (const auto attend : {&plain::attend, &fixed::attend})
      EXPECT_THROW(test::fixed_attend(attend, bad, k, v), std::logic_error);
  };
  refuses(c, rows, fewer);
  refuses(c, again, again);
  FixedCase bad = c;
  bad.v.group = 48;
  refuses(bad, rows, rows);
  bad = c;
  bad.v.along = Along::kTokens;
  refuses(bad, rows, rows);
  bad = c;
  bad.k.first = 1;
  refuses(bad, rows, rows);
  bad = c;
  bad.dim = 512;
  refuses(bad, rows, rows);
}

INSTANTIATE_TEST_SUITE_P(Isa, FixedTest, test::kEveryIsa, test::isa_name);

}  // namespace
}  // namespace kvx::num::fixed
