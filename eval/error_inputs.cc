#include "eval/error_inputs.h"

#include <fmt/core.h>

#include "eval/error_record.h"
#include "sim/api/error.h"

namespace kvx::eval {

namespace po = boost::program_options;

void add_error_options(po::options_description& options) {
  options.add_options()("error-windows",
                        po::value<std::string>()->value_name("X")->default_value("1"),
                        "error: number of windows, from the start");
}

ErrorInputs read_error_inputs(const Options& options, const std::vector<model::CacheMode>& modes,
                              const PplInputs& text) {
  ErrorInputs in{.modes = modes,
                 .tokens = text.tokens,
                 .cut = text.cut,
                 .windows = options.integer("error-windows", 1, INT64_MAX),
                 .identity = text.identity};
  const int64_t available = std::ssize(in.tokens) / in.cut.length;
  if (in.windows > available)
    throw usage_error(
        fmt::format("--error-windows {}: {} has {} tokens, which make {} windows of {}", in.windows,
                    options.required("data"), in.tokens.size(), available, in.cut.length));
  in.cut.context = 0;
  in.identity.erase("context");
  in.identity["task"] = kErrorTask;
  return in;
}

}  // namespace kvx::eval
