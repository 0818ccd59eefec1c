#include "eval/scheme_options.h"

#include <fmt/core.h>

#include <filesystem>
#include <system_error>

#include "sim/api/error.h"

namespace kvx::eval {
namespace po = boost::program_options;

void add_cache_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  auto add = options.add_options();
  add("mode", text(),
      "streamed: exact windows as the scheme says (default); all: without, as in cache mode all");
  add("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate");
  add("artifacts", text(), "folder that is searched for a descriptor's #hash");
}

Windows windows_of(std::string_view mode) {
  return mode == "all" ? Windows::kNone : Windows::kKept;
}

CacheMaker cache_maker(const ArtifactStore& store, const Descriptor& scheme, std::string_view mode,
                       const std::string& nonfinite) {
  CacheConfig config;
  config.windows = windows_of(mode);
  config.nonfinite = nonfinite == "refuse" ? NonFinite::kRefuse : NonFinite::kPropagate;
  return {store.factory(scheme), config};
}

ArtifactStore artifact_store(const Options& options) {
  return ArtifactStore(options.has("artifacts") ? options.required("artifacts") : "");
}

void check_not_the_same(const std::string& in, const std::string& out) {
  std::error_code ignored;
  if (std::filesystem::equivalent(in, out, ignored))
    throw usage_error(fmt::format("--out {}: is the file of --in", out));
}

}  // namespace kvx::eval
