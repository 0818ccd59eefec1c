// Tests that run once on each instruction set of the vectorised kernels.
#pragma once

#include <gtest/gtest.h>

#include "sim/num/isa.h"

namespace kvx::test {

class IsaTest : public testing::TestWithParam<num::Isa> {
 protected:
  void SetUp() override {
    if (GetParam() == num::Isa::kAvx512 && num::machine_isa() != num::Isa::kAvx512)
      GTEST_SKIP() << "no AVX-512 on this machine";
    num::set_active_isa(GetParam());
  }
  void TearDown() override { num::set_active_isa(num::machine_isa()); }
};

inline const auto kEveryIsa = testing::Values(num::Isa::kAvx2, num::Isa::kAvx512);

inline std::string isa_name(const testing::TestParamInfo<num::Isa>& tested) {
  return tested.param == num::Isa::kAvx2 ? "avx2" : "avx512";
}

}  // namespace kvx::test
