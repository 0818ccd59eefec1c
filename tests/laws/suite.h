// The suite of laws, one test per law and subject: instantiated for the registered schemes, and,
// to test the tests, for caches that break a law.
#pragma once

#include <gtest/gtest.h>

#include "tests/laws/laws.h"

namespace kvx::laws {

class Laws : public testing::TestWithParam<Subject> {};

inline std::string subject_name(const testing::TestParamInfo<Subject>& info) {
  return info.param.name;
}

}  // namespace kvx::laws
