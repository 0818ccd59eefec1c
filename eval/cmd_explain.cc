#include <fmt/core.h>

#include <array>

#include "eval/cli.h"
#include "eval/explain.h"
#include "eval/options.h"
#include "eval/scheme_options.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 2> kWindows{"kept", "none"};

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("length", text()->default_value("2048"), "tokens in the cache");
  add("kv-heads", text()->default_value("3"), "KV heads of the layer");
  add("head-dim", text()->default_value("64"), "channels of a head");
  add("windows", text()->default_value("kept"),
      "exact windows: kept, or none as in cache mode all");
  add_artifacts_option(options);
  add("all", po::bool_switch(), "every block of the layout");
  add("json", po::bool_switch(), "print JSON, the whole layout in it");
  add("help", po::bool_switch(), "this text");
  return options;
}

}  // namespace

int cmd_explain(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words, "descriptor");
  if (options.flag("help")) {
    print_help(
        "usage: kvx explain DESCRIPTOR [options]\n\n"
        "What is sealed when, nominal and exact bits, and where each byte lies.\n\n",
        visible);
    return 0;
  }
  if (!options.has("descriptor"))
    throw usage_error("kvx explain needs a descriptor, e.g. kivi:k2v2");
  ArtifactStore store = artifact_store(options);
  const Descriptor scheme = store.parse(options.text("descriptor"));
  const CacheConfig config{
      .shape = {0, static_cast<int>(options.integer("kv-heads", 1, 65536)),
                static_cast<int>(options.integer("head-dim", 1, 65536))},
      .windows = options.choice("windows", kWindows) == "kept" ? Windows::kKept : Windows::kNone};
  const int64_t length = options.integer("length", 1, kMaxLayoutRows);
  if (length * config.shape.kv_heads > kMaxLayoutRows)
    throw usage_error(fmt::format("--length {} with --kv-heads {}: more than {} rows", length,
                                  config.shape.kv_heads, kMaxLayoutRows));
  const Explained explained = explain(scheme, store.factory(scheme), config, length);
  if (options.flag("json")) {
    fmt::print("{}\n", json_text(explain_json(explained), 2));
  } else {
    fmt::print("{}", explain_text(explained, options.flag("all")));
  }
  return 0;
}

}  // namespace kvx::eval
