#include <fmt/core.h>

#include "eval/backend.h"
#include "eval/cli.h"
#include "eval/number.h"
#include "eval/options.h"
#include "eval/protocol.h"
#include "eval/record.h"
#include "eval/text_table.h"
#include "gpu/registry.h"
#include "sim/api/schema.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::pair<const char*, const char*> kModes[] = {
    {"all",
     "one pass; every position's K and V goes through the codec first; exact windows count as 0"},
    {"streamed", "each step reads what a server would: sealed blocks and the exact window"},
    {"prefill-exact", "prompt attention exact, decoding reads the cache"},
    {"context-exact", "the context exact, question and answer read the cache"},
};

std::string kind_name(KeyKind kind) {
  switch (kind) {
    case KeyKind::kInt:
      return "integer";
    case KeyKind::kReal:
      return "real";
    case KeyKind::kWord:
      return "word";
    case KeyKind::kFlag:
      return "flag";
    case KeyKind::kArtifact:
      return "artifact";
    case KeyKind::kDescriptor:
      return "descriptor";
  }
  return "";
}

std::string allowed(const KeySpec& key) {
  if (!key.words.empty()) return join(key.words, "|");
  if (!key.ints.empty()) {
    std::string text;
    for (const int64_t value : key.ints)
      text += fmt::format("{}{}", text.empty() ? "" : "|", value);
    return text;
  }
  if (key.kind != KeyKind::kInt) return kind_name(key.kind);
  return key.max == INT64_MAX ? fmt::format("{}..", key.min)
                              : fmt::format("{}..{}", key.min, key.max);
}

std::string standing(const KeySpec& key) {
  if (key.required) return "required";
  return key.fallback.empty() ? "optional" : fmt::format("default {}", key.fallback);
}

// What --backend takes, and why it cannot run here.
std::string backend_text(std::string_view name) {
  const std::string reason = backend_unavailable(name);
  return reason.empty() ? "ready" : reason;
}

std::string list_text() {
  std::string text = "schemes\n";
  for (const SchemeSchema& scheme : schemes()) {
    text += fmt::format("\n  {}  version {}, reference{}  {}{}\n", scheme.name, scheme.version,
                        gpu::has_kernel(scheme.name) ? " and cuda" : "", scheme.summary,
                        scheme.paper == "-" ? "" : fmt::format(" ({})", scheme.paper));
    std::vector<std::vector<std::string>> rows;
    for (const KeySpec& key : scheme.keys)
      rows.push_back(
          {fmt::format("    {}", key.name), allowed(key), standing(key), std::string(key.doc)});
    text += align_columns(rows, 4);
  }
  text += "\naliases\n\n";
  std::vector<std::vector<std::string>> rows;
  for (const Alias& alias : aliases())
    rows.push_back({fmt::format("  {}", alias.name), std::string(alias.descriptor)});
  text += align_columns(rows, 2);
  text += "\ncache modes\n\n";
  for (const auto& [name, doc] : kModes) text += fmt::format("  {:14} {}\n", name, doc);
  text += "\nbackends\n\n";
  for (const char* name : {kCpu, kCuda})
    text += fmt::format("  {:14} {}\n", name, backend_text(name));
  return text +
         fmt::format(
             "\ntasks\n\n  {:14} perplexity in the protocol of GPTQ or llama.cpp, "
             "divergence from fp:f32\n"
             "  {:14} (modes streamed, all; with a context prefill-exact, context-exact)\n"
             "  {:14} relative errors of K, V, attention weights and output, layer by layer\n"
             "  {:14} (modes streamed, all)\n",
             kPplTask, "", kErrorTask, "");
}

Json list_json() {
  Json json;
  json["schemes"] = Json::array();
  for (const SchemeSchema& scheme : schemes()) {
    Json keys = Json::array();
    for (const KeySpec& key : scheme.keys) {
      Json item{{"name", key.name},
                {"kind", kind_name(key.kind)},
                {"doc", key.doc},
                {"required", key.required}};
      item["default"] = key.fallback.empty() ? Json() : Json(key.fallback);
      if (!key.words.empty()) item["values"] = key.words;
      if (!key.ints.empty()) item["values"] = key.ints;
      if (key.kind == KeyKind::kInt && key.ints.empty()) {
        item["min"] = key.min;
        item["max"] = key.max == INT64_MAX ? Json() : Json(key.max);
      }
      keys.push_back(std::move(item));
    }
    json["schemes"].push_back({{"name", scheme.name},
                               {"version", scheme.version},
                               {"summary", scheme.summary},
                               {"paper", scheme.paper},
                               {"reference", true},
                               {"cuda", gpu::has_kernel(scheme.name)},
                               {"keys", std::move(keys)}});
  }
  json["aliases"] = Json::array();
  for (const Alias& alias : aliases())
    json["aliases"].push_back({{"name", alias.name}, {"descriptor", alias.descriptor}});
  json["modes"] = Json::array();
  for (const auto& [name, doc] : kModes) json["modes"].push_back({{"name", name}, {"doc", doc}});
  json["backends"] = Json::array();
  for (const char* name : {kCpu, kCuda}) {
    const std::string reason = backend_unavailable(name);
    json["backends"].push_back({{"name", name}, {"ready", reason.empty()}});
    if (!reason.empty()) json["backends"].back()["reason"] = reason;
  }
  Json modes = Json::array();
  for (const auto& [name, doc] : kModes) modes.push_back(name);
  json["tasks"] =
      Json::array({{{"name", kPplTask}, {"modes", std::move(modes)}, {"protocols", kProtocolNames}},
                   {{"name", kErrorTask}, {"modes", {"all", "streamed"}}}});
  return json;
}

}  // namespace

int cmd_list(const std::vector<std::string>& words) {
  po::options_description visible("options", 100);
  visible.add_options()("json", po::bool_switch(), "print JSON")("help", po::bool_switch(),
                                                                 "this text");
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(
        "usage: kvx list [--json]\n\nSchemes with their keys, aliases, cache modes, "
        "backends and tasks.\n\n",
        visible);
  } else if (options.flag("json")) {
    fmt::print("{}\n", list_json().dump(2));
  } else {
    fmt::print("{}", list_text());
  }
  return 0;
}

}  // namespace kvx::eval
