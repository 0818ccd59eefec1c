#include <fmt/core.h>

#include <array>
#include <numeric>

#include "eval/cli.h"
#include "eval/layout_text.h"
#include "eval/number.h"
#include "eval/options.h"
#include "eval/scheme_options.h"
#include "eval/text_table.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 2> kWindows{"kept", "none"};

// Rows of all heads that a layout may list: 128 k tokens of 8 heads.
constexpr int64_t kMaxRows = int64_t{1} << 20;

struct Explained {
  Descriptor scheme;
  CacheConfig config;
  int64_t length;
  std::unique_ptr<StoredCache> cache;
  std::vector<LayoutEntry> layout;
  std::array<ByteCount, 2> bytes;
  int64_t values;  // of one side
};

Explained explain(const Descriptor& scheme, const StoredCacheFactory& factory,
                  const CacheConfig& config, int64_t length) {
  Explained out{scheme, config, length, factory(config), {}, {}, 0};
  out.layout = out.cache->layout(length);
  for (const LayoutEntry& entry : out.layout)
    out.bytes[entry.name.starts_with("k") ? 0 : 1][entry.item] += entry.bytes;
  out.values = length * config.shape.kv_heads * config.shape.head_dim;
  return out;
}

// 8 bytes / values as a reduced fraction.
std::string ratio(int64_t bytes, int64_t values) {
  const int64_t bits = 8 * bytes;
  const int64_t divisor = std::gcd(bits, values);
  if (values == divisor) return fmt::format("{}", bits / divisor);
  return fmt::format("{}/{}", bits / divisor, values / divisor);
}

double decimal(int64_t bytes, int64_t values) {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(values);
}

std::string traits_text(const Traits& traits) {
  static constexpr const char* kInputs[] = {"binary32, not rounded", "rounded to fp16",
                                            "rounded to bfloat16"};
  return fmt::format("keys {} rotary embedding; K and V {} before anything else",
                     traits.keys == KeySpace::kRotated ? "after" : "before",
                     kInputs[static_cast<size_t>(traits.input)]);
}

std::string explain_text(const Explained& e, bool whole) {
  const SchemeSchema& schema = e.scheme.schema();
  std::string text =
      fmt::format("{}  recorded as {}\n{}{}\n{}\n\n", e.scheme.str(), e.scheme.versioned(),
                  schema.summary, schema.paper == "-" ? "" : fmt::format(" ({})", schema.paper),
                  traits_text(e.cache->traits()));
  text += fmt::format("k  {}\nv  {}\n\n", e.cache->policy(Side::kK), e.cache->policy(Side::kV));

  text += fmt::format("bits per value of {} tokens, {} KV heads of {}, windows {}\n\n", e.length,
                      e.config.shape.kv_heads, e.config.shape.head_dim,
                      e.config.windows == Windows::kKept ? "kept" : "none");
  std::vector<std::vector<std::string>> rows{{"", "nominal", "exact", "fraction"}};
  std::vector<Item> items;
  for (int i = 0; i < kItems; ++i) {
    const Item item = static_cast<Item>(i);
    if (e.bytes[0][item] + e.bytes[1][item] == 0) continue;
    items.push_back(item);
    rows.front().push_back(item_name(item));
  }
  rows.front().push_back("bytes");
  const auto add = [&](const std::string& name, double nominal, const ByteCount& bytes,
                       int64_t values) {
    std::vector<std::string> row{name, fmt::format("{:g}", nominal),
                                 fmt::format("{:.6g}", decimal(bytes.total(), values)),
                                 ratio(bytes.total(), values)};
    for (const Item item : items)
      row.push_back(fmt::format("{:.4g}", decimal(bytes[item], values)));
    row.push_back(thousands(bytes.total()));
    rows.push_back(std::move(row));
  };
  const double k = e.cache->nominal_bits(Side::kK), v = e.cache->nominal_bits(Side::kV);
  add("k", k, e.bytes[0], e.values);
  add("v", v, e.bytes[1], e.values);
  ByteCount both = e.bytes[0];
  both += e.bytes[1];
  add("k+v", (k + v) / 2, both, 2 * e.values);
  text += align_columns(rows, 1);
  return text + "\nlayout of one layer's image\n\n" + layout_text(e.layout, whole);
}

Json side_json(const Explained& e, Side side) {
  const ByteCount& bytes = e.bytes[static_cast<size_t>(side)];
  Json items;
  for (int i = 0; i < kItems; ++i)
    items[item_name(static_cast<Item>(i))] = bytes[static_cast<Item>(i)];
  return {{"policy", e.cache->policy(side)},
          {"nominal_bits", e.cache->nominal_bits(side)},
          {"bits_per_value", decimal(bytes.total(), e.values)},
          {"bits_per_value_fraction", ratio(bytes.total(), e.values)},
          {"bytes", bytes.total()},
          {"bytes_by_item", items}};
}

Json explain_json(const Explained& e) {
  Json json{{"scheme", e.scheme.str()},
            {"versioned", e.scheme.versioned()},
            {"summary", e.scheme.schema().summary},
            {"paper", e.scheme.schema().paper},
            {"length", e.length},
            {"kv_heads", e.config.shape.kv_heads},
            {"head_dim", e.config.shape.head_dim},
            {"windows", e.config.windows == Windows::kKept ? "kept" : "none"},
            {"k", side_json(e, Side::kK)},
            {"v", side_json(e, Side::kV)}};
  json["layout"] = Json::array();
  for (const LayoutEntry& entry : e.layout)
    json["layout"].push_back({{"name", entry.name},
                              {"item", item_name(entry.item)},
                              {"dtype", entry.dtype},
                              {"shape", entry.shape},
                              {"offset", entry.offset},
                              {"bytes", entry.bytes}});
  return json;
}

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
  const int64_t length = options.integer("length", 1, kMaxRows);
  if (length * config.shape.kv_heads > kMaxRows)
    throw usage_error(fmt::format("--length {} with --kv-heads {}: more than {} rows", length,
                                  config.shape.kv_heads, kMaxRows));
  const Explained explained = explain(scheme, store.factory(scheme), config, length);
  if (options.flag("json")) {
    fmt::print("{}\n", json_text(explain_json(explained), 2));
  } else {
    fmt::print("{}", explain_text(explained, options.flag("all")));
  }
  return 0;
}

}  // namespace kvx::eval
