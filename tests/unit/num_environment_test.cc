// Flush-to-zero, denormals-are-zero and the rounding mode belong to a thread: checked in each one
// of OpenMP.
#include <gtest/gtest.h>
#include <immintrin.h>
#include <omp.h>

#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/num/environment.h"

namespace kvx::num {
namespace {

// Least subnormal, a sum and a product that are subnormal, and a sum whose rounding tells the mode.
bool canary() {
  volatile float least = 0x1p-149f;
  volatile float normal = 0x1p-126f;
  volatile float half = 0.5f;
  volatile float one = 1.0f;
  volatile float tie = 0x1p-24f;
  const float kept = least + 0.0f;
  const float product = normal * half;
  const float difference = normal - 0x1.8p-127f;
  const float even = one + tie;
  const float odd = 0x1.000002p+0f + tie;
  return kept == 0x1p-149f && product == 0x1p-127f && difference == 0x1p-128f && even == 1.0f &&
         odd == 0x1.000004p+0f;
}

std::string complaint() {
  try {
    require_ieee_environment();
    return {};
  } catch (const Error& error) {
    return error.exit() == Exit::kEnvironment ? error.what() : "wrong exit code";
  }
}

TEST(Environment, IsIeeeInEveryThread) {
  for (const int threads : {1, 2, 3, 7}) {
    std::vector<int> good(static_cast<size_t>(threads), 0);
#pragma omp parallel num_threads(threads)
    good[static_cast<size_t>(omp_get_thread_num())] = complaint().empty() && canary() ? 1 : 0;
    for (const int thread : good) EXPECT_EQ(thread, 1);
  }
}

class MxcsrGuard {
 public:
  explicit MxcsrGuard(unsigned set) : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | set); }
  ~MxcsrGuard() { _mm_setcsr(saved_); }
  MxcsrGuard(const MxcsrGuard&) = delete;
  MxcsrGuard& operator=(const MxcsrGuard&) = delete;

 private:
  unsigned saved_;
};

TEST(Environment, EveryWrongSettingIsNamedAndKillsTheCanary) {
  const struct {
    unsigned set;
    const char* word;
  } settings[] = {{0x8000, "flush-to-zero"},
                  {0x0040, "denormals-are-zero"},
                  {0x2000, "rounding"},
                  {0x4000, "rounding"},
                  {0x6000, "rounding"}};
  for (const auto& setting : settings) {
    std::string said;
    bool alive;
    {
      const MxcsrGuard guard(setting.set);
      said = complaint();
      alive = canary();
    }
    EXPECT_NE(said.find(setting.word), std::string::npos) << said;
    EXPECT_FALSE(alive) << setting.word;
  }
}

}  // namespace
}  // namespace kvx::num
