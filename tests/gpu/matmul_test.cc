// The device's matrix product against that of the reference, bit for bit: every kernel, ragged
// shapes, edge values.
#include "gpu/engine/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gpu/engine/matmul_kernels.h"
#include "gpu/registry.h"
#include "sim/gen/fill.h"
#include "sim/num/formats.h"
#include "sim/num/gemm.h"

namespace kvx::gpu {
namespace {

constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kBf16};
constexpr uint32_t kPoison = 0x7FC0DEADu;
constexpr int64_t kBehind = 64;  // poisoned elements behind an output

const char* type_name(WeightType type) {
  return type == WeightType::kF32 ? "f32" : type == WeightType::kF16 ? "f16" : "bf16";
}

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
bool same(float a, float b) { return bits(a) == bits(b) || (std::isnan(a) && std::isnan(b)); }

std::vector<float> filled(gen::Fill kind, uint32_t tensor, int64_t rows, int64_t columns) {
  std::vector<float> out(static_cast<size_t>(rows * columns));
  // Even width of kRopeKeys; a value depends on its token and channel alone.
  if (kind == gen::Fill::kRopeKeys && columns % 2 != 0) kind = gen::Fill::kNormal;
  gen::fill(kind, 7, tensor, {1, static_cast<int>(columns)}, 0, out);
  return out;
}

float scalar_dot(const float* a, const float* b, int64_t k) {
  float total = 0.0f;
  for (int64_t first = 0; first < k; first += 512) {
    float c = 0.0f;
    for (int64_t i = first; i < std::min(k, first + 512); ++i) c = std::fma(a[i], b[i], c);
    total = first == 0 ? c : total + c;
  }
  return total + 0.0f;
}

// x, W, bias and residual on both sides, and x W^T of the reference.
class Problem {
 public:
  Problem(int64_t m, int64_t n, int64_t k, WeightType type, gen::Fill x_fill, gen::Fill w_fill)
      : m_(m), n_(n), k_(k), type_(type), x_stride_((k + 3) / 4 * 4 + 4), w_(n, k, type) {
    x_ = filled(x_fill, 1, m, k);
    rows_ = filled(w_fill, 2, n, k);
    bias_ = filled(gen::Fill::kNormal, 3, 1, n);
    residual_ = filled(gen::Fill::kNormal, 4, m, n);
    if (type == WeightType::kF32) {
      w_.set_rows(0, n, rows_.data());
    } else {
      std::vector<uint16_t> stored(rows_.size());
      const std::span<const uint16_t> view(stored);
      if (type == WeightType::kF16) {
        num::f16_encode(rows_, stored);
        num::f16_decode(view, rows_);
      } else {
        num::bf16_encode(rows_, stored);
        num::bf16_decode(view, rows_);
      }
      const int64_t half = n / 2;
      w_.set_rows(half, n - half, stored.data() + half * k);
      w_.set_rows(0, half, stored.data());
    }

    // What lies behind column k must not be read.
    std::vector<float> padded(static_cast<size_t>(m * x_stride_), std::bit_cast<float>(kPoison));
    for (int64_t i = 0; i < m; ++i)
      std::copy_n(x_.data() + i * k, k, padded.data() + i * x_stride_);
    device_x_ = DeviceArray<float>(m * x_stride_);
    device_x_.upload(padded);
    device_bias_ = DeviceArray<float>(n);
    device_bias_.upload(bias_);
    scratch_ = DeviceArray<float>(m * n * ((k + 511) / 512));

    num::PackedInput input;
    input.reshape(m, k);
    for (int64_t t = 0; t < input.tiles(); ++t) input.set_tile(t, x_.data(), k);
    num::PackedWeights packed(n, k, num::WeightType::kF32);
    for (int64_t p = 0; p < packed.panels(); ++p) {
      std::vector<float> panel(rows_.begin() + p * num::kPanel * k,
                               rows_.begin() + std::min(n, (p + 1) * num::kPanel) * k);
      packed.set_panel(p, panel.data());
    }
    dots_.resize(static_cast<size_t>(m * n));
    const num::Gemm gemm(input, packed, dots_.data(), n, 1);
    for (int64_t task = 0; task < gemm.tasks(); ++task) gemm.run(task);
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t row = (m - 1) * i / 2, column = (n - 1) * (2 - i) / 2;
      const float expected = scalar_dot(x_.data() + row * k, rows_.data() + column * k, k);
      EXPECT_TRUE(same(dots_[static_cast<size_t>(row * n + column)], expected));
    }
  }

  struct Extras {
    bool bias = false, residual = false, in_place = false, scratch = true;
    int64_t stride_pad = 0;
  };
  using Launch = std::function<void(const MatmulArgs&)>;

  // Runs `launch` for rows [first, first + m) and compares.
  void run(
      int64_t first, int64_t m, const Extras& extras, const std::string& what,
      const Launch& launch = [](const MatmulArgs& args) { matmul(args, nullptr); }) {
    const int64_t stride = n_ + extras.stride_pad;
    std::vector<float> y(static_cast<size_t>(m * stride + kBehind), std::bit_cast<float>(kPoison));
    std::vector<float> before = y;
    for (int64_t i = 0; i < m; ++i)
      std::copy_n(residual_.data() + (first + i) * n_, n_, before.data() + i * stride);
    DeviceArray<float> device_y(static_cast<int64_t>(y.size()));
    DeviceArray<float> device_residual(static_cast<int64_t>(y.size()));
    device_residual.upload(before);
    const bool in_place = extras.residual && extras.in_place;
    device_y.upload(in_place ? before : y);

    MatmulArgs args;
    args.x = device_x_.get() + first * x_stride_;
    args.x_stride = x_stride_;
    args.w = &w_;
    args.y = device_y.get();
    args.y_stride = stride;
    args.m = m;
    args.bias = extras.bias ? device_bias_.get() : nullptr;
    if (extras.residual) args.residual = in_place ? device_y.get() : device_residual.get();
    args.scratch = extras.scratch ? scratch_.get() : nullptr;
    launch(args);
    device_y.download(y);

    int wrong = 0;
    for (int64_t at = 0; at < static_cast<int64_t>(y.size()); ++at) {
      const int64_t i = at / stride, j = at % stride;
      float expected = std::bit_cast<float>(kPoison);
      const bool output = i < m && j < n_;
      if (output) {
        expected = dots_[static_cast<size_t>((first + i) * n_ + j)];
        if (extras.bias) expected = expected + bias_[static_cast<size_t>(j)];
        if (extras.residual)
          expected = residual_[static_cast<size_t>((first + i) * n_ + j)] + expected;
      }
      const float got = y[static_cast<size_t>(at)];
      const bool equal =
          output ? same(got, expected) && bits(got) != kPoison : bits(got) == kPoison;
      if (equal) continue;
      if (++wrong <= 4)
        ADD_FAILURE() << what << " " << type_name(type_) << " m " << m << " n " << n_ << " k " << k_
                      << " bias " << extras.bias << " residual " << extras.residual << " scratch "
                      << extras.scratch << " at [" << i << "][" << j << "]: got " << std::hex
                      << bits(got) << ", expected " << bits(expected);
    }
    if (wrong > 4) ADD_FAILURE() << what << ": " << wrong << " differ";
  }

  int64_t m() const { return m_; }
  const DeviceWeights& w() const { return w_; }
  const std::vector<float>& rows() const { return rows_; }

 private:
  int64_t m_, n_, k_;
  WeightType type_;
  int64_t x_stride_;
  DeviceWeights w_;
  std::vector<float> x_, rows_, bias_, residual_, dots_;
  DeviceArray<float> device_x_, device_bias_, scratch_;
};

class MatmulTest : public ::testing::TestWithParam<WeightType> {
 protected:
  void SetUp() override {
    if (const std::string reason = unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_P(MatmulTest, EqualsTheReference) {
  for (const int64_t n : {1, 3, 8, 63, 64, 65, 129, 576}) {
    for (const int64_t k : {1, 7, 8, 64, 172, 511, 512, 513, 576, 1024, 1025, 1536, 4864}) {
      Problem problem(257, n, k, GetParam(), gen::Fill::kNormal, gen::Fill::kHeavy);
      int turn = 0;
      for (const int64_t m : {1, 2, 3, 7, 8, 9, 17, 31, 33, 64, 65, 130, 257}) {
        Problem::Extras extras;
        extras.bias = turn % 2 != 0;
        extras.residual = turn % 3 != 0;
        extras.in_place = turn % 3 == 2;
        extras.scratch = turn % 5 != 4;
        extras.stride_pad = turn % 4;
        ++turn;
        problem.run(257 - m, m, extras, "matmul");
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(MatmulTest, EveryKernel) {
  for (const int64_t n : {1, 65, 200, 516}) {
    for (const int64_t k : {5, 172, 576, 1537, 3100}) {
      Problem problem(150, n, k, GetParam(), gen::Fill::kNormal, gen::Fill::kNormal);
      const auto product = [](const MatmulArgs& a) {
        return Product{a.x,
                       a.x_stride,
                       reinterpret_cast<const uint4*>(a.w->data()),
                       a.y,
                       a.y_stride,
                       a.bias,
                       a.residual,
                       a.scratch,
                       static_cast<int>(a.m),
                       static_cast<int>(a.w->n()),
                       static_cast<int>(a.w->k())};
      };
      for (const int64_t m : {1, 2, 4, 5, 20, 150}) {
        Problem::Extras extras;
        extras.bias = extras.residual = m % 2 == 0;
        for (const TileSize size :
             {TileSize::k16x128, TileSize::k32x128, TileSize::k64x64, TileSize::k128x128}) {
          for (const bool apart : {false, true}) {
            problem.run(0, m, extras,
                        "tile " + std::to_string(static_cast<int>(size)) + (apart ? " apart" : ""),
                        [&](const MatmulArgs& args) {
                          launch_tiles(product(args), GetParam(), size, apart, nullptr);
                          if (apart) launch_combine(product(args), nullptr);
                        });
          }
        }
        // The number of processors decides how blocks of k are shared out.
        for (const int processors : {1, 3, 1000})
          problem.run(0, m, extras, "few rows, " + std::to_string(processors) + " processors",
                      [&](const MatmulArgs& args) {
                        launch_few_rows(product(args), GetParam(), processors, nullptr);
                      });
        for (const int rows : {1, 2, 4}) {
          for (const int row_warps : {1, 2, 4}) {
            for (const int cluster : {1, 2, 4, 8}) {
              StagedPlan plan{rows, row_warps, 1, cluster};
              plan.k_warps = static_cast<int>(ceil_div(ceil_div(k, kDotBlock), cluster));
              if (!staged_fits(plan, k, GetParam())) continue;
              problem.run(0, m, extras,
                          "staged, " + std::to_string(rows) + " rows, " +
                              std::to_string(row_warps) + " row warps, cluster of " +
                              std::to_string(cluster),
                          [&](const MatmulArgs& args) {
                            launch_staged(product(args), GetParam(), plan, nullptr);
                          });
            }
          }
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(MatmulTest, StagedPlansFit) {
  for (const int64_t m : {1, 2, 3, 8, 9, 64}) {
    for (const int64_t k : {1, 512, 576, 1536, 4864, 8192, 14336}) {
      for (const int64_t n : {1, 576, 49152}) {
        const StagedPlan plan = plan_staged(m, n, k, GetParam(), 132);
        if (plan.cycles < 1e300) {
          EXPECT_TRUE(staged_fits(plan, k, GetParam())) << m << " " << n << " " << k;
          EXPECT_GT(plan.cycles, 0.0);
        } else {
          EXPECT_GT(k, 4864) << m << " " << n;
        }
      }
    }
  }
}

TEST_P(MatmulTest, EdgeValues) {
  for (int x = 0; x < gen::kFills; ++x) {
    for (int w = 0; w < gen::kFills; ++w) {
      const auto x_fill = static_cast<gen::Fill>(x), w_fill = static_cast<gen::Fill>(w);
      Problem problem(34, 36, 600, GetParam(), x_fill, w_fill);
      for (const int64_t m : {1, 2, 3, 6, 12, 34})
        problem.run(0, m, {.bias = m == 12, .residual = m == 6},
                    std::string(gen::fill_name(x_fill)) + " x " + gen::fill_name(w_fill));
      if (HasFailure()) return;
    }
  }
}

TEST_P(MatmulTest, LongSumsAndWideOutputs) {
  Problem deep(40, 130, 14336, GetParam(), gen::Fill::kNormal, gen::Fill::kNormal);
  for (const int64_t m : {1, 2, 4, 8, 40}) deep.run(0, m, {}, "deep");
  Problem wide(40, 9000, 576, GetParam(), gen::Fill::kNormal, gen::Fill::kNormal);
  for (const int64_t m : {1, 2, 4, 8, 40}) wide.run(0, m, {}, "wide");
}

TEST_P(MatmulTest, RowAloneIsRowInBatch) {
  Problem problem(70, 100, 1100, GetParam(), gen::Fill::kHeavy, gen::Fill::kNormal);
  for (int64_t i = 0; i < problem.m(); ++i) problem.run(i, 1, {}, "row " + std::to_string(i));
}

TEST_P(MatmulTest, GathersRows) {
  for (const int64_t k : {1, 64, 172, 576}) {
    Problem problem(1, 77, k, GetParam(), gen::Fill::kNormal, gen::Fill::kNonFinite);
    const std::vector<int32_t> tokens = {0, 76, 5, 5, 33};
    const auto count = static_cast<int64_t>(tokens.size());
    DeviceArray<int32_t> device_tokens(count);
    device_tokens.upload(tokens);
    std::vector<float> out(static_cast<size_t>(count * k + kBehind), std::bit_cast<float>(kPoison));
    DeviceArray<float> device_out(static_cast<int64_t>(out.size()));
    device_out.upload(out);
    gather_rows(problem.w(), device_tokens.get(), count, device_out.get(), nullptr);
    device_out.download(out);
    for (int64_t i = 0; i < count * k; ++i) {
      const float expected =
          problem.rows()[static_cast<size_t>(tokens[static_cast<size_t>(i / k)] * k + i % k)];
      ASSERT_TRUE(same(out[static_cast<size_t>(i)], expected))
          << "k " << k << " row " << i / k << " channel " << i % k;
    }
    for (int64_t i = count * k; i < count * k + kBehind; ++i)
      ASSERT_EQ(bits(out[static_cast<size_t>(i)]), kPoison) << "k " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MatmulTest, ::testing::ValuesIn(kTypes),
                         [](const auto& type) { return type_name(type.param); });

TEST(MatmulScratch, GrowsWithRows) {
  int64_t before = 0;
  for (int64_t m = 1; m < 5000; m += 7) {
    const int64_t floats = matmul_scratch_floats(m, 4096, 4096);
    EXPECT_GE(floats, before);
    before = floats;
  }
  EXPECT_EQ(matmul_scratch_floats(100, 4096, 512), 0);
}

}  // namespace
}  // namespace kvx::gpu
