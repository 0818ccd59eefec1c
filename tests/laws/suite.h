// The suite of laws, one test per law and subject: instantiated for the registered schemes on
// either side and, to test the tests, for caches that break a law.
#pragma once

#include <gtest/gtest.h>

#include "tests/laws/laws.h"

namespace kvx::laws {

class Laws : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    if (!GetParam().absent.empty()) GTEST_SKIP() << GetParam().absent;
  }
};

inline std::string subject_name(const testing::TestParamInfo<Subject>& info) {
  return info.param.name;
}

}  // namespace kvx::laws
