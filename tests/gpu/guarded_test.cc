// Kernels that write beside their output, or not all of it, are caught.
#include "gpu/cache/guarded.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/registry.h"

namespace kvx::gpu {
namespace {

constexpr int64_t kCount = 1000;

class Guarded : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = unavailable(); !reason.empty()) GTEST_SKIP() << reason;
    floats_ = guarded_.prepare(kCount, nullptr);
    write(0, kCount);
  }

  // Zeros to values [first, first + count).
  void write(int64_t first, int64_t count) {
    check(cudaMemset(floats_ + first, 0, static_cast<size_t>(count) * sizeof(float)), "test");
  }
  std::string verdict() const {
    try {
      const auto values = guarded_.collect("test", nullptr);
      return values == std::vector<float>(kCount) ? "" : "other values";
    } catch (const Error& error) {
      return (error.exit() == Exit::kVerdict ? "" : "another exit: ") + std::string(error.what());
    }
  }

  GuardedFloats guarded_;
  float* floats_ = nullptr;
};

TEST_F(Guarded, GoodOutputsComeBack) { EXPECT_EQ(verdict(), ""); }

TEST_F(Guarded, FencesTellWhereTheyWereWritten) {
  write(-2, 1);
  EXPECT_EQ(verdict(), "CUDA: test wrote outside its memory: 2 before it");
  floats_ = guarded_.prepare(kCount, nullptr);
  write(0, kCount);
  write(kCount + 4095, 1);
  EXPECT_EQ(verdict(), "CUDA: test wrote outside its memory: 4096 behind it");
}

TEST_F(Guarded, ValuesThatWereNotWrittenAreFound) {
  floats_ = guarded_.prepare(kCount, nullptr);
  write(0, 317);
  write(318, kCount - 318);
  EXPECT_EQ(verdict(), "CUDA: test did not write value 317 of 1000");
}

TEST_F(Guarded, ShorterOutputsHaveTheirFencesCloser) {
  floats_ = guarded_.prepare(10, nullptr);
  write(0, 11);
  EXPECT_EQ(verdict(), "CUDA: test wrote outside its memory: 1 behind it");
}

}  // namespace
}  // namespace kvx::gpu
