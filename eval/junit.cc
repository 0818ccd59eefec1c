#include "eval/junit.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/xml_escape.h"

namespace kvx::eval {
namespace {

std::string xml(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return xml_escape(text);
}

std::string time_text(const std::optional<double>& seconds) {
  return seconds ? fmt::format(" time=\"{:.3f}\"", *seconds) : "";
}

std::string case_text(const JunitCase& one) {
  const std::string open = fmt::format("    <testcase classname=\"{}\" name=\"{}\"{}",
                                       xml(one.classname), xml(one.name), time_text(one.seconds));
  if (!one.skipped.empty())
    return fmt::format("{}>\n      <skipped message=\"{}\"/>\n    </testcase>\n", open,
                       xml(one.skipped));
  if (!one.failure) return open + "/>\n";
  return fmt::format("{}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n", open,
                     xml(one.failure->message), xml(one.failure->text));
}

}  // namespace

std::string junit_text(const std::vector<JunitSuite>& suites) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const JunitSuite& suite : suites) {
    std::string cases;
    for (const JunitCase& one : suite.cases) cases += case_text(one);
    const auto count = [&](auto&& is) {
      return std::count_if(suite.cases.begin(), suite.cases.end(), is);
    };
    const auto skipped = count([](const JunitCase& one) { return !one.skipped.empty(); });
    text += fmt::format(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\"{}{}>\n{}  </testsuite>\n",
        xml(suite.name), suite.cases.size(),
        count([](const JunitCase& one) { return one.failure.has_value(); }),
        skipped > 0 ? fmt::format(" skipped=\"{}\"", skipped) : "", time_text(suite.seconds),
        cases);
  }
  return text + "</testsuites>\n";
}

}  // namespace kvx::eval
