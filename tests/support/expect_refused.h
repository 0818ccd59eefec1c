// Asserts how bad input is refused: an Error (of the environment) of one line that names what the
// reader needs.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "sim/api/error.h"

namespace kvx::test {

inline void expect_refused(const std::function<void()>& open, const std::vector<std::string>& words,
                           Exit exit = Exit::kEnvironment) {
  try {
    open();
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(error.exit(), exit) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    EXPECT_LT(what.size(), 600u) << what;
    for (const std::string& word : words) {
      EXPECT_NE(what.find(word), std::string::npos) << "no \"" << word << "\" in: " << what;
    }
    return;
  }
  ADD_FAILURE() << "was accepted";
}

}  // namespace kvx::test
