#include "eval/place.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/tensor_diff.h"
#include "eval/tensor_file.h"

namespace kvx::eval {
namespace {

int64_t values_in(const std::vector<int64_t>& shape) {
  int64_t values = 1;
  for (const int64_t dim : shape) values *= dim;
  return values;
}

// Of the dimensions of a canonical tensor.
std::vector<std::string> dimension_names(const std::string& tensor, size_t rank) {
  const std::string name = tensor.substr(tensor.find('.') + 1);
  if (name == "bytes") return {"item"};
  if (name == "sealed") return {"head", "token"};
  if (name == "codes" || name.starts_with("decoded")) return {"head", "token", "channel"};
  if (rank == 3) return {"head", "group", "item"};
  std::vector<std::string> names;
  for (size_t i = 0; i < rank; ++i) names.push_back(fmt::format("dim {}", i));
  return names;
}

}  // namespace

std::string place_text(const Place& place) {
  std::string index;
  for (const auto& [name, value] : place.index)
    index += fmt::format("{}{} {}", index.empty() ? "" : ", ", name, value);
  return fmt::format("{}{}{}: expected {}, found {}; {} of {} values differ",
                     place.layer < 0 ? "" : fmt::format("layer {}, ", place.layer), place.tensor,
                     index.empty() ? "" : fmt::format(" [{}]", index), place.expected, place.found,
                     place.different, place.values);
}

Json place_json(const Place& place) {
  Json json;
  json["layer"] = place.layer < 0 ? Json() : Json(place.layer);
  json["tensor"] = place.tensor;
  json["index"] = Json::object();
  for (const auto& [name, value] : place.index) json["index"][name] = value;
  json["expected"] = place.expected;
  json["found"] = place.found;
  json["different"] = place.different;
  json["values"] = place.values;
  return json;
}

std::optional<Place> first_place(int layer, const std::string& tensor,
                                 const std::vector<std::string>& names,
                                 const ArtifactTensor& expected, const ArtifactTensor& found) {
  const int64_t values = values_in(expected.shape);
  if (expected.dtype != found.dtype || expected.shape != found.shape)
    return Place{layer,
                 tensor,
                 {},
                 type_text(expected.dtype, expected.shape),
                 type_text(found.dtype, found.shape),
                 values,
                 values};
  if (std::ranges::equal(expected.bytes, found.bytes)) return std::nullopt;
  const auto difference = first_difference(expected, found);
  if (!difference) return std::nullopt;
  Place place{layer, tensor, {}, difference->expected, difference->found, difference->count,
              values};
  for (size_t i = 0; i < names.size(); ++i)
    place.index.emplace_back(names[i], difference->index[i]);
  return place;
}

std::optional<Place> first_place(int layer, const std::string& tensor, ConstRows expected,
                                 ConstRows found, int64_t first) {
  const std::vector<int64_t> shape{expected.tokens, expected.heads, expected.dim};
  const std::vector<float> a = dense_values(expected), b = dense_values(found);
  auto place = first_place(
      layer, tensor, {"token", "head", "channel"}, {"F32", shape, std::as_bytes(std::span(a))},
      {"F32", {found.tokens, found.heads, found.dim}, std::as_bytes(std::span(b))});
  if (place && !place->index.empty()) {
    place->index[0].second += first;
    std::swap(place->index[0], place->index[1]);
  }
  return place;
}

std::vector<float> dense_values(ConstRows rows) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(rows.tokens * rows.heads * rows.dim));
  for (int64_t token = 0; token < rows.tokens; ++token)
    for (int head = 0; head < rows.heads; ++head)
      values.insert(values.end(), rows.row(token, head), rows.row(token, head) + rows.dim);
  return values;
}

CacheContent cache_content(const LayerCache& cache, SeqId seq) {
  CacheContent content;
  cache.export_to(seq, [&](const std::string& name, const std::string& dtype,
                           const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
    content[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
  });
  for (const Side side : {Side::kK, Side::kV}) {
    const ByteCount used = cache.used(seq, side);
    const auto bytes = std::as_bytes(std::span(used.bytes));
    content[std::string(side_name(side)) + ".bytes"] = {
        "I64", {kItems}, {bytes.begin(), bytes.end()}};
  }
  return content;
}

void compare_contents(int layer, const CacheContent& expected, const CacheContent& found,
                      const ContentComparison& comparison) {
  constexpr const char* kAbsent = "no such tensor";
  for (const auto& [name, tensor] : expected) {
    const int64_t values = values_in(tensor.shape);
    comparison.compared(name, values);
    const auto other = found.find(name);
    if (other == found.end()) {
      comparison.found(
          name, {layer, name, {}, type_text(tensor.dtype, tensor.shape), kAbsent, values, values});
      continue;
    }
    const auto names = dimension_names(name, tensor.shape.size());
    if (const auto place = first_place(layer, name, names, tensor.view(), other->second.view()))
      comparison.found(name, *place);
  }
  for (const auto& [name, tensor] : found) {
    if (expected.contains(name)) continue;
    const int64_t values = values_in(tensor.shape);
    comparison.found(
        name, {layer, name, {}, kAbsent, type_text(tensor.dtype, tensor.shape), values, values});
  }
}

}  // namespace kvx::eval
