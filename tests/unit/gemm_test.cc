// The packed matrix product against the dot product of the definition, bit for bit, on both
// instruction sets.
#include "sim/num/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "sim/num/formats.h"
#include "sim/num/isa.h"
#include "sim/num/reduce.h"
#include "tests/support/isa_test.h"
#include "tests/support/noise.h"

namespace kvx::num {
namespace {

class GemmTest : public test::IsaTest {};

// y = x W^T through the packed product, tasks in descending order.
std::vector<float> product(const std::vector<float>& x, int64_t m, const PackedWeights& w,
                           int threads) {
  PackedInput input;
  input.reshape(m, w.k());
  for (int64_t t = 0; t < input.tiles(); ++t) input.set_tile(t, x.data(), w.k());
  std::vector<float> y(static_cast<size_t>(m * w.n()), -7.0f);
  const Gemm gemm(input, w, y.data(), w.n(), threads);
  for (int64_t task = gemm.tasks() - 1; task >= 0; --task) gemm.run(task);
  return y;
}

void expect_equal_to_dots(const std::vector<float>& x, int64_t m, const std::vector<float>& weights,
                          int64_t n, int64_t k, const std::vector<float>& y) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const float expected = plain::dot({x.data() + i * k, static_cast<size_t>(k)},
                                        {weights.data() + j * k, static_cast<size_t>(k)});
      ASSERT_EQ(std::bit_cast<uint32_t>(y[static_cast<size_t>(i * n + j)]),
                std::bit_cast<uint32_t>(expected))
          << "m " << m << " n " << n << " k " << k << " at [" << i << "][" << j << "]";
    }
  }
}

TEST_P(GemmTest, EqualsDotProducts) {
  for (const int64_t k : {1, 7, 16, 17, 64, 172, 511, 512, 513, 576, 1024, 1537}) {
    for (const int64_t m : {1, 2, 5, 6, 7, 11, 12, 13, 25}) {
      for (const int64_t n : {1, 31, 32, 33, 72}) {
        const std::vector<float> x = test::noise(m * k, 1), rows = test::noise(n * k, 2);
        PackedWeights w(n, k, WeightType::kF32);
        for (int64_t p = 0; p < w.panels(); ++p) w.set_panel(p, rows.data() + p * kPanel * k);
        expect_equal_to_dots(x, m, rows, n, k, product(x, m, w, 2));
      }
    }
  }
}

TEST_P(GemmTest, WidensSixteenBitWeightsExactly) {
  for (const WeightType type : {WeightType::kF16, WeightType::kBf16}) {
    for (const int64_t m : {1, 12, 40}) {
      const int64_t n = 40, k = 600;
      const std::vector<float> x = test::noise(m * k, 3);
      std::vector<float> rows = test::noise(n * k, 4);
      std::vector<uint16_t> bits(rows.size());
      for (size_t i = 0; i < rows.size(); ++i) {
        bits[i] = type == WeightType::kF16 ? f16_encode(rows[i]) : bf16_encode(rows[i]);
        rows[i] = type == WeightType::kF16 ? f16_decode(bits[i]) : bf16_decode(bits[i]);
      }
      PackedWeights w(n, k, type);
      for (int64_t p = 0; p < w.panels(); ++p) w.set_panel(p, bits.data() + p * kPanel * k);
      expect_equal_to_dots(x, m, rows, n, k, product(x, m, w, 1));
      std::vector<float> row(static_cast<size_t>(k));
      w.row(35, row);
      EXPECT_EQ(row, std::vector<float>(rows.begin() + 35 * k, rows.begin() + 36 * k));
    }
  }
}

TEST_P(GemmTest, TakesEitherOperandTransposed) {
  for (const int64_t k : {1, 31, 64, 513}) {
    for (const int64_t m : {1, 6, 25}) {
      for (const int64_t n : {1, 32, 70}) {
        const std::vector<float> x = test::noise(m * k, 5), rows = test::noise(n * k, 6);
        std::vector<float> columns(rows.size()), x_columns(x.size());
        for (int64_t i = 0; i < k; ++i) {
          for (int64_t j = 0; j < n; ++j)
            columns[static_cast<size_t>(i * n + j)] = rows[static_cast<size_t>(j * k + i)];
          for (int64_t j = 0; j < m; ++j)
            x_columns[static_cast<size_t>(i * m + j)] = x[static_cast<size_t>(j * k + i)];
        }
        PackedWeights w(k, n, WeightType::kF32);
        for (int64_t p = 0; p < w.panels(); ++p) w.set_panel(p, columns.data() + p * kPanel * n);
        expect_equal_to_dots(x, m, rows, n, k, product(x, m, w.transposed(), 2));
        PackedInput input, other;
        input.reshape(m, k);
        other.reshape(m, k);
        for (int64_t t = 0; t < input.tiles(); ++t) {
          input.set_tile(t, x.data(), k);
          other.set_tile_transposed(t, x_columns.data(), m);
          const int64_t floats = input.tile_rows() * k;
          EXPECT_TRUE(std::equal(input.tile(t), input.tile(t) + floats, other.tile(t)));
        }
      }
    }
  }
  std::vector<uint16_t> bits(40 * 50);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i * 31 % 0x7000);
  PackedWeights w(40, 50, WeightType::kF16);
  for (int64_t p = 0; p < w.panels(); ++p) w.set_panel(p, bits.data() + p * kPanel * 50);
  std::vector<float> row(40);
  w.transposed().row(37, row);
  for (size_t j = 0; j < row.size(); ++j) EXPECT_EQ(row[j], f16_decode(bits[j * 50 + 37]));
}

TEST_P(GemmTest, KeepsSignsOfZeroAndSubnormals) {
  const int64_t m = 3, n = 5, k = 4;
  const std::vector<float> x = {-0.0f,     1e-30f, -1e-30f, 0.0f, -1e-38f, 2.0f,
                                0x1p-149f, 1.0f,   -1.0f,   0.0f, 0.0f,    -0.0f};
  std::vector<float> rows;
  for (int64_t j = 0; j < n; ++j)
    for (const float v : {-0.0f, 1e-16f, 0.5f, -0x1p-126f})
      rows.push_back(j % 2 ? -v : v * static_cast<float>(j + 1));
  PackedWeights w(n, k, WeightType::kF32);
  w.set_panel(0, rows.data());
  expect_equal_to_dots(x, m, rows, n, k, product(x, m, w, 1));
}

INSTANTIATE_TEST_SUITE_P(Isas, GemmTest, test::kEveryIsa, test::isa_name);

}  // namespace
}  // namespace kvx::num
