#include "eval/run_context.h"

#include <fmt/core.h>

namespace kvx::eval {

std::string RunContext::add_difference(const UnitRecord& expected, const UnitRecord& found,
                                       const std::string& value) {
  const std::string& other = expected.runs.front().backend;
  const std::string& backend = found.runs.front().backend;
  folder.add_difference({{"key", found.key.str()},
                         {"backend", backend},
                         {"expected_of", other},
                         {"level", "E3"},
                         {"value", value},
                         {"places", Json::array()}});
  return fmt::format("{}: {}: {} does not give the values of {}: {}", folder.path(),
                     found.key.str(), backend, other, value);
}

}  // namespace kvx::eval
