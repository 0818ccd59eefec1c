#include "eval/scheme_options.h"

#include <fmt/core.h>

#include <filesystem>
#include <system_error>

#include "sim/api/error.h"

namespace kvx::eval {
namespace po = boost::program_options;

void add_artifacts_option(po::options_description& options) {
  options.add_options()("artifacts", po::value<std::string>()->value_name("X"),
                        "folder that is searched for a descriptor's #hash");
}

void add_artifact_option(po::options_description& options) {
  options.add_options()("artifact", po::value<std::string>()->value_name("X"),
                        "calibrated file of the scheme, which need not name it then");
}

Descriptor scheme_with_artifact(const std::string& text, const Options& options,
                                ArtifactStore& store) {
  if (!options.has("artifact")) return store.parse(text);
  const std::string path = options.required("artifact");
  const std::string own = artifact_reference(store.add(path));
  const Descriptor given = Descriptor::parse(text);
  const KeySpec* const key = artifact_key(given.schema());
  if (key == nullptr)
    throw usage_error(
        fmt::format("--artifact {}: scheme '{}' is not calibrated", path, given.name()));
  if (given.get_word(key->name).empty())
    return store.parse(fmt::format(
        "{}{}{}={}", text, text.find(':') == std::string::npos ? ":" : ",", key->name, own));
  const Descriptor resolved = store.resolve(given);
  if (resolved.get_word(key->name) != own)
    throw usage_error(fmt::format("--artifact {}: is {}, but the scheme names {}", path, own,
                                  resolved.get_word(key->name)));
  return resolved;
}

void add_cache_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  auto add = options.add_options();
  add("mode", text(),
      "streamed: exact windows as the scheme says (default); all: without, as in cache mode all");
  add("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate");
  add_artifacts_option(options);
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

ArtifactStore artifact_store(const Options& options, const std::string& other) {
  namespace fs = std::filesystem;
  std::vector<std::string> folders;
  if (options.has("artifacts")) {
    folders.push_back(options.required("artifacts"));
    if (!fs::is_directory(folders.back()))
      throw environment_error(fmt::format("--artifacts {}: not a folder", folders.back()));
  }
  if (!other.empty() && fs::is_directory(other)) folders.push_back(other);
  return ArtifactStore(folders);
}

void check_not_the_same(const std::string& in, const std::string& out) {
  std::error_code ignored;
  if (std::filesystem::equivalent(in, out, ignored))
    throw usage_error(fmt::format("--out {}: is the file of --in", out));
}

}  // namespace kvx::eval
