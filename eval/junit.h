// Verdicts as a JUnit file, which continuous integration shows.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvx::eval {

struct JunitFailure {
  std::string message;  // one line
  std::string text;     // may be empty
};

struct JunitCase {
  std::string classname, name;
  std::optional<double> seconds;
  std::optional<JunitFailure> failure;
  std::string skipped;  // why; empty: it was not
};

struct JunitSuite {
  std::string name;
  std::optional<double> seconds;
  std::vector<JunitCase> cases;
};

// Control characters, which XML 1.0 has not, become blanks.
std::string junit_text(const std::vector<JunitSuite>& suites);

}  // namespace kvx::eval
