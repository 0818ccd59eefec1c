#include "eval/explain.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "eval/layout_text.h"
#include "eval/text_table.h"
#include "sim/gen/fill.h"

namespace kvx::eval {
namespace {

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

// Of a scheme whose bytes depend on the data: of normally distributed K and V.
std::vector<LayoutEntry> layout_of_normal_rows(StoredCache& cache, int64_t length) {
  constexpr int64_t kTokens = 256;  // made at a time
  const LayerShape& shape = cache.config().shape;
  const SeqId seq = cache.open();
  for (int64_t first = 0; first < length; first += kTokens) {
    const int64_t count = std::min(kTokens, length - first);
    const auto rows = [&](uint32_t tensor) {
      std::vector<float> values(static_cast<size_t>(count * shape.kv_heads * shape.head_dim));
      gen::fill(gen::Fill::kNormal, 1, tensor, {shape.kv_heads, shape.head_dim}, first, values);
      return values;
    };
    const std::vector<float> k = rows(0), v = rows(1);
    const Span span{.seq = seq, .first = first, .count = count};
    cache.append(dense_rows(k.data(), count, shape.kv_heads, shape.head_dim),
                 dense_rows(v.data(), count, shape.kv_heads, shape.head_dim), {&span, 1});
  }
  return cache.layout_of(seq);
}

}  // namespace

Explained explain(const Descriptor& scheme, const StoredCacheFactory& factory,
                  const CacheConfig& config, int64_t length) {
  Explained out{scheme, config, length, factory(config), {}, {}, 0};
  out.layout = out.cache->traits().fixed_size ? out.cache->layout(length)
                                              : layout_of_normal_rows(*out.cache, length);
  for (const LayoutEntry& entry : out.layout)
    out.bytes[entry.name.starts_with("k") ? 0 : 1][entry.item] += entry.bytes;
  out.values = length * config.shape.kv_heads * config.shape.head_dim;
  return out;
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
  if (!e.cache->traits().fixed_size)
    text += "sizes depend on the data: here, of normally distributed K and V\n\n";
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

}  // namespace kvx::eval
