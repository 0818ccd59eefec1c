// Attention tiles against the plain attention of the definition, bit for bit, on both instruction
// sets.
#include "sim/num/attention_tile.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "sim/num/attention.h"
#include "sim/num/gemm.h"
#include "sim/num/isa.h"
#include "tests/support/isa_test.h"
#include "tests/support/noise.h"

namespace kvx::num {
namespace {

class AttentionTileTest : public test::IsaTest {};

struct Case {
  int dim;
  int64_t rows;
  float spread;  // of queries and keys: large ones make probabilities underflow
};

struct Sides {
  Case shape;
  int64_t stride;
  std::vector<float> k[2], v[2];  // sealed, exact: [rows][dim], [rows][stride]
  std::vector<float> panels[2];

  explicit Sides(const Case& c) : shape(c), stride((c.dim + kPanel - 1) / kPanel * kPanel) {
    for (uint32_t i = 0; i < 2; ++i) {
      k[i] = test::noise(c.rows * c.dim, 10 + i);
      for (float& x : k[i]) x *= c.spread;
      v[i] = test::noise(c.rows * stride, 20 + i);
      const int64_t count = (c.rows + kPanel - 1) / kPanel;
      panels[i].resize(static_cast<size_t>(count * kPanel * c.dim));
      for (int64_t p = 0; p < count; ++p)
        pack_key_panel(k[i].data() + p * kPanel * c.dim, c.dim,
                       static_cast<int>(std::min<int64_t>(kPanel, c.rows - p * kPanel)), c.dim,
                       panels[i].data() + p * kPanel * c.dim);
    }
  }
  AttentionSides view() const {
    return {panels[0].data(), panels[1].data(), v[0].data(), v[1].data(), stride};
  }
  std::vector<float> plain(const AttentionQuery& query) const {
    std::vector<AttentionRow> rows;
    for (int64_t t = 0; t <= query.position; ++t)
      rows.push_back({t, k[t < query.k_sealed ? 0 : 1].data() + t * shape.dim,
                      v[t < query.v_sealed ? 0 : 1].data() + t * stride});
    std::vector<float> out(static_cast<size_t>(shape.dim));
    plain::attend({query.q, out.size()}, rows, out);
    return out;
  }
};

// sealed(position) gives (k_sealed, v_sealed) of the query at a position.
template <class Sealed>
void check(const Case& c, int64_t first_position, int64_t step, const Sealed& sealed) {
  const Sides sides(c);
  const int tile = attention_tile_rows();
  const std::vector<float> q = test::noise(tile * c.dim, 30);
  std::vector<float> scaled(q);
  for (float& x : scaled) x *= c.spread;
  std::vector<float> out(static_cast<size_t>(tile * c.dim), -3.0f);
  const AlignedArray<float> scratch =
      aligned_floats(static_cast<size_t>(attention_scratch_floats(c.dim)));
  for (int count = 1; count <= tile; ++count) {
    std::vector<AttentionQuery> queries;
    for (int i = 0; i < count; ++i) {
      const int64_t position = std::min(c.rows - 1, first_position + i / 3 * step);
      const auto [k_sealed, v_sealed] = sealed(position);
      queries.push_back(
          {scaled.data() + i * c.dim, out.data() + i * c.dim, position, k_sealed, v_sealed});
    }
    attend_tile(sides.view(), c.dim, queries, scratch.get());
    for (const AttentionQuery& query : queries) {
      const std::vector<float> expected = sides.plain(query);
      for (size_t j = 0; j < expected.size(); ++j) {
        if (std::isnan(query.out[j]) && std::isnan(expected[j])) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(query.out[j]), std::bit_cast<uint32_t>(expected[j]))
            << "dim " << c.dim << " position " << query.position << " k_sealed " << query.k_sealed
            << " v_sealed " << query.v_sealed << " channel " << j;
      }
    }
  }
}

TEST_P(AttentionTileTest, EqualsPlainAttention) {
  for (const int dim : {8, 64, 80, 128}) {
    for (const float spread : {1.0f, 20.0f}) {
      for (const int64_t position : {0, 1, 30, 31, 32, 100, 253, 254, 255, 256, 511, 600}) {
        const Case c{dim, position + 6, spread};
        check(c, position, 1, [](int64_t t) { return std::pair(t + 1, t + 1); });
        check(c, position, 1, [](int64_t) { return std::pair<int64_t, int64_t>(0, 0); });
        check(c, position, 1, [](int64_t t) {
          return std::pair<int64_t, int64_t>(32 * (t / 32), std::max<int64_t>(0, t - 32));
        });
        check(c, position, 1, [](int64_t t) {
          return std::pair<int64_t, int64_t>((t * 7) % (t + 2), (t * 5) % (t + 2));
        });
      }
    }
  }
}

// Finite queries and keys whose scores are not: infinite of either sign, and NaN.
TEST_P(AttentionTileTest, ScoresThatOverflow) {
  for (const int dim : {2, 8, 64}) {
    for (const float spread : {1e19f, 2.5e19f, 1e25f}) {
      for (const int64_t position : {0, 3, 40, 255, 256, 300}) {
        check({dim, position + 6, spread}, position, 1,
              [](int64_t t) { return std::pair(t + 1, t / 2); });
      }
    }
  }
}

TEST_P(AttentionTileTest, TileMaySpanSegmentsAndBorders) {
  for (const int64_t step : {64, 100, 256}) {
    check({64, 1300, 3.0f}, 5, step, [](int64_t t) {
      return std::pair<int64_t, int64_t>(128 * (t / 128), std::max<int64_t>(0, t - 128));
    });
    check({64, 1300, 3.0f}, 0, step,
          [](int64_t t) { return std::pair<int64_t, int64_t>(std::min<int64_t>(700, t), t / 2); });
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, AttentionTileTest, test::kEveryIsa, test::isa_name);

}  // namespace
}  // namespace kvx::num
