// The vectorised functions equal the plain ones bit for bit, for both instruction sets, on every
// length up to 600 and on numbers of every kind.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "sim/gen/fill.h"
#include "sim/gen/random.h"
#include "sim/num/elementary.h"
#include "sim/num/formats.h"
#include "sim/num/isa.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"
#include "tests/support/isa_test.h"

namespace kvx::num {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T, class Bits>
Bits same_nan(T x, Bits nan) {
  return std::isnan(x) ? nan : std::bit_cast<Bits>(x);
}
uint32_t bits(float x) { return same_nan<float, uint32_t>(x, 0x7fffffffu); }
uint64_t bits(double x) { return same_nan<double, uint64_t>(x, ~uint64_t{0}); }

template <class T>
testing::AssertionResult same(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size();
  for (size_t i = 0; i < a.size(); ++i)
    if (bits(a[i]) != bits(b[i]))
      return testing::AssertionFailure()
             << "element " << i << " of " << a.size() << ": " << a[i] << " and " << b[i];
  return testing::AssertionSuccess();
}

// Numbers of one character, `n` of them.
struct Kind {
  const char* name;
  std::vector<float> (*make)(uint32_t tensor, size_t n);
};

std::vector<float> filled(gen::Fill fill, uint32_t tensor, size_t n) {
  std::vector<float> x(n);
  gen::fill(fill, 1, tensor, {1, 1}, 0, x);
  return x;
}

const Kind kKinds[] = {
    {"normal", [](uint32_t tensor, size_t n) { return filled(gen::Fill::kNormal, tensor, n); }},
    {"zeros", [](uint32_t tensor, size_t n) { return filled(gen::Fill::kZeros, tensor, n); }},
    {"subnormal",
     [](uint32_t tensor, size_t n) { return filled(gen::Fill::kF32Subnormal, tensor, n); }},
    {"extreme",
     [](uint32_t tensor, size_t n) { return filled(gen::Fill::kF32Extreme, tensor, n); }},
    {"non-finite",
     [](uint32_t tensor, size_t n) { return filled(gen::Fill::kNonFinite, tensor, n); }},
    {"any pattern",
     [](uint32_t tensor, size_t n) {
       std::vector<float> x(n);
       for (size_t i = 0; i < n; ++i)
         x[i] = std::bit_cast<float>(gen::Source{2, tensor}.words(i)[0]);
       return x;
     }},
    {"logits, some -inf",
     [](uint32_t tensor, size_t n) {
       std::vector<float> x = filled(gen::Fill::kNormal, tensor, n);
       for (size_t i = 0; i < n; ++i) {
         x[i] = 20 * x[i];
         if (gen::Source{3, tensor}.words(i)[0] % 16 == 0) x[i] = -kInf;
       }
       return x;
     }},
    {"ties",
     [](uint32_t tensor, size_t n) {
       std::vector<float> x(n);
       for (size_t i = 0; i < n; ++i)
         x[i] = static_cast<float>(gen::Source{4, tensor}.words(i)[0] % 3) - 1;
       return x;
     }},
};

std::vector<size_t> lengths() {
  std::vector<size_t> n;
  for (size_t i = 0; i <= 600; ++i) n.push_back(i);
  for (const size_t i : {1023u, 1024u, 1025u, 4095u, 4096u, 4097u, 4223u, 8191u, 12289u})
    n.push_back(i);
  return n;
}

class Simd : public test::IsaTest {
 protected:
  // Calls check(x, y) on two rows of every kind and length.
  template <class Check>
  void on_all_rows(Check check) {
    for (const Kind& kind : kKinds)
      for (const size_t n : lengths()) {
        SCOPED_TRACE(std::string(kind.name) + ", length " + std::to_string(n));
        const uint32_t tensor = static_cast<uint32_t>(2 * n);
        check(kind.make(tensor, n), kind.make(tensor + 1, n));
        if (HasFailure()) return;
      }
  }

  template <class Scalar, class Vector>
  void equal_maps(Scalar scalar, Vector vector) {
    on_all_rows([&](const std::vector<float>& x, const std::vector<float>&) {
      std::vector<float> expected(x.size());
      for (size_t i = 0; i < x.size(); ++i) expected[i] = scalar(x[i]);
      std::vector<float> out(x.size() + 1, 77.0f);
      vector(std::span(x), std::span(out).first(x.size()));
      ASSERT_EQ(out.back(), 77.0f) << "written past the end";
      out.pop_back();
      ASSERT_TRUE(same(expected, out));
      std::vector<float> in_place = x;
      vector(std::span<const float>(in_place), std::span(in_place));
      ASSERT_TRUE(same(expected, in_place));
    });
  }
};

INSTANTIATE_TEST_SUITE_P(, Simd, test::kEveryIsa, test::isa_name);

using In = std::span<const float>;
using Out = std::span<float>;

TEST_P(Simd, Exp2) {
  equal_maps([](float x) { return exp2(x); }, [](In x, Out y) { exp2(x, y); });
}

TEST_P(Simd, Exp) {
  equal_maps([](float x) { return exp(x); }, [](In x, Out y) { exp(x, y); });
}

TEST_P(Simd, Silu) {
  equal_maps([](float x) { return silu(x); }, [](In x, Out y) { silu(x, y); });
}

TEST_P(Simd, F16Round) {
  equal_maps([](float x) { return f16_round(x); }, [](In x, Out y) { f16_round(x, y); });
}

TEST_P(Simd, Bf16Round) {
  equal_maps([](float x) { return bf16_round(x); }, [](In x, Out y) { bf16_round(x, y); });
}

TEST_P(Simd, SinCosOfPhase) {
  for (const size_t n : lengths()) {
    std::vector<uint32_t> phase(n);
    for (size_t i = 0; i < n; ++i) phase[i] = gen::Source{5, static_cast<uint32_t>(n)}.words(i)[0];
    std::vector<float> sin(n), cos(n), expected_sin(n), expected_cos(n);
    for (size_t i = 0; i < n; ++i) {
      const SinCos sc = sincos_phase(phase[i]);
      expected_sin[i] = sc.sin;
      expected_cos[i] = sc.cos;
    }
    sincos_phase(phase, sin, cos);
    ASSERT_TRUE(same(expected_sin, sin));
    ASSERT_TRUE(same(expected_cos, cos));
  }
}

TEST_P(Simd, Sums) {
  on_all_rows([](const std::vector<float>& x, const std::vector<float>&) {
    ASSERT_EQ(bits(plain::sum(x)), bits(sum(x)));
    ASSERT_EQ(bits(plain::sum_squares(x)), bits(sum_squares(x)));
    const std::vector<double> wide(x.begin(), x.end());
    ASSERT_EQ(bits(plain::sum(std::span<const double>(wide))),
              bits(sum(std::span<const double>(wide))));
  });
}

TEST_P(Simd, MaxAndArgmax) {
  on_all_rows([](const std::vector<float>& x, const std::vector<float>&) {
    ASSERT_EQ(bits(plain::max(x)), bits(max(x)));
    ASSERT_EQ(plain::argmax(x), argmax(x));
  });
}

TEST_P(Simd, MaxAndArgmaxOfOddRows) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const size_t n : lengths()) {
    if (n > 600) break;
    SCOPED_TRACE(n);
    const std::vector<float> lowest(n, -kInf), nans(n, nan), zeros(n, -0.0f);
    EXPECT_EQ(max(lowest), -kInf);
    EXPECT_EQ(argmax(lowest), n == 0 ? -1 : 0);
    EXPECT_EQ(argmax(nans), -1);
    EXPECT_EQ(std::isnan(max(nans)), n > 0);
    EXPECT_EQ(bits(max(zeros)), n == 0 ? bits(-kInf) : 0u);
    if (n == 0) continue;
    std::vector<float> x = nans;
    x.back() = -kInf;
    EXPECT_EQ(argmax(x), static_cast<int64_t>(n) - 1);
    x = zeros;
    x.back() = +0.0f;  // not greater than -0
    EXPECT_EQ(argmax(x), 0);
    x.back() = nan;
    EXPECT_TRUE(std::isnan(max(x)));
  }
}

TEST_P(Simd, Rows) {
  on_all_rows([](const std::vector<float>& x, const std::vector<float>& y) {
    std::vector<float> expected(x.size()), out(x.size());
    plain::rms_norm(x, y, 1e-5f, expected);
    rms_norm(x, y, 1e-5f, out);
    ASSERT_TRUE(same(expected, out));
    plain::softmax(x, expected);
    softmax(x, out);
    ASSERT_TRUE(same(expected, out));
    plain::swiglu(x, y, expected);
    swiglu(x, y, out);
    ASSERT_TRUE(same(expected, out));
    std::vector<float> in_place = x;
    swiglu(in_place, y, in_place);
    ASSERT_TRUE(same(expected, in_place));
  });
}

TEST_P(Simd, Likelihood) {
  on_all_rows([](const std::vector<float>& z, const std::vector<float>& w) {
    const double lse_z = plain::log_sum_exp(z);
    const double lse_w = plain::log_sum_exp(w);
    ASSERT_EQ(bits(lse_z), bits(log_sum_exp(z)));
    ASSERT_EQ(bits(plain::kl_divergence(z, lse_z, w, lse_w)),
              bits(kl_divergence(z, lse_z, w, lse_w)));
  });
}

TEST_P(Simd, LikelihoodOfAVocabulary) {
  for (const size_t n : {32000u, 49152u, 128256u, 151937u}) {
    std::vector<float> z = filled(gen::Fill::kNormal, 1, n);
    std::vector<float> w = filled(gen::Fill::kNormal, 2, n);
    for (size_t i = 0; i < n; ++i) {
      z[i] *= 3;
      w[i] = z[i] + 0.1f * w[i];
    }
    const double lse_z = log_sum_exp(z);
    const double lse_w = log_sum_exp(w);
    EXPECT_EQ(bits(lse_z), bits(plain::log_sum_exp(z)));
    EXPECT_EQ(bits(kl_divergence(z, lse_z, w, lse_w)),
              bits(plain::kl_divergence(z, lse_z, w, lse_w)));
    EXPECT_EQ(kl_divergence(z, lse_z, z, lse_z), 0.0);
    long double sum = 0;
    for (const float v : z) sum += std::exp(static_cast<long double>(v));
    EXPECT_NEAR(lse_z, static_cast<double>(std::log(sum)), 1e-7);
  }
}

TEST(Isa, OfTheMachineIsTheDefault) { EXPECT_EQ(active_isa(), machine_isa()); }

}  // namespace
}  // namespace kvx::num
