// Property tests run from a fixed seed, so that a failure is one everywhere; RC_PARAMS overrides
// it.
#pragma once

#include <errno.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <sstream>
#include <string>

namespace kvx::test {

// To be called before the first property, e.g. by a static initialiser.
inline bool fix_properties(const char* parameters = "seed=20240131") {
  return setenv("RC_PARAMS", parameters, 0) == 0;
}

// The command that runs the failed case of the current test again, shrunk.
inline std::string repro_line(const std::string& id, const rc::detail::Reproduce& failed) {
  rc::detail::Configuration configuration;
  configuration.reproduce[id] = failed;
  return "RC_PARAMS='" + rc::detail::configToMinimalString(configuration) + "' " +
         program_invocation_name + " --gtest_filter='" + id + "'";
}

// Lines of whole tensors are no help: each is cut.
inline std::string with_short_lines(const std::string& text) {
  constexpr size_t kLongest = 200;
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    if (line.size() > kLongest) line = line.substr(0, kLongest) + " ...";
    out += line + "\n";
  }
  return out;
}

// Checks a property as the current GoogleTest test. A failure shows the shrunk counterexample and,
// behind "repro: ", the line that runs it again.
template <class Property>
void check_property(Property&& property) {
  struct Silent final : rc::detail::TestListener {
    void onTestCaseFinished(const rc::detail::CaseDescription&) override {}
    void onShrinkTried(const rc::detail::CaseDescription&, bool) override {}
    void onTestFinished(const rc::detail::TestMetadata&, const rc::detail::TestResult&) override {}
  } silent;
  const testing::TestInfo& info = *testing::UnitTest::GetInstance()->current_test_info();
  const std::string id = std::string(info.test_suite_name()) + "." + info.name();
  const rc::detail::Configuration& configuration = rc::detail::configuration();
  const rc::detail::TestResult result =
      rc::detail::checkProperty(rc::detail::toProperty(std::forward<Property>(property)), {id, id},
                                configuration.testParams, silent, configuration.reproduce);
  if (result.is<rc::detail::SuccessResult>()) return;
  std::ostringstream text;
  rc::detail::printResultMessage(result, text);
  std::string message = with_short_lines(text.str());
  if (result.is<rc::detail::FailureResult>()) {
    message += "repro: " + repro_line(id, result.get<rc::detail::FailureResult>().reproduce);
  }
  ADD_FAILURE() << message;
}

}  // namespace kvx::test
