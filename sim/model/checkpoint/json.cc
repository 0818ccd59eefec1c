#include "sim/model/checkpoint/json.h"

#include <fmt/format.h>

#include <cmath>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sim/model/checkpoint/file.h"

namespace kvx::model {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& file) {
  constexpr int kMaxDepth = 32;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
        keys.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        if (depth >= kMaxDepth) {
          throw file_error(file, fmt::format("JSON is nested deeper than {} levels", kMaxDepth));
        }
        break;
      case json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!keys.back().insert(key).second) {
          throw file_error(file, fmt::format("key {} is named twice", printable(key)));
        }
        break;
      }
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& error) {
    const std::string_view what = error.what();
    throw file_error(file, fmt::format("not valid JSON: {}", what.substr(0, 160)));
  }
}

json read_json_object(const std::string& path, size_t limit) {
  const MappedFile file(path);
  if (file.text().size() > limit) {
    throw file_error(
        path, fmt::format("has {} bytes, more than the {} allowed", file.text().size(), limit));
  }
  json value = parse_json(file.text(), path);
  if (!value.is_object()) throw file_error(path, "is not a JSON object");
  return value;
}

JsonFields::JsonFields(const json& object, std::string file, std::string prefix)
    : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {
  if (!object_.is_object()) {
    throw file_error(file_, fmt::format("field '{}' is not an object", prefix_));
  }
}

const json* JsonFields::find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json& JsonFields::require(const std::string& key) const {
  const json* value = find(key);
  if (value == nullptr)
    throw file_error(file_, fmt::format("field '{}{}' is missing", prefix_, key));
  return *value;
}

Error JsonFields::wrong(const std::string& key, const std::string& expected) const {
  const auto replace = json::error_handler_t::replace;
  return file_error(file_,
                    fmt::format("field '{}{}' is {}, not {}", prefix_, key,
                                printable(object_.at(key).dump(-1, ' ', true, replace)), expected));
}

Error JsonFields::unsupported(const std::string& key, const std::string& missing) const {
  const auto replace = json::error_handler_t::replace;
  return file_error(
      file_, fmt::format("field {} is {}: not supported: missing {}", printable(prefix_ + key),
                         printable(object_.at(key).dump(-1, ' ', true, replace)), missing));
}

int64_t JsonFields::integer(const std::string& key, std::optional<int64_t> fallback,
                            int64_t low) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const json& value = require(key);
  constexpr int64_t kHigh = int64_t{1} << 31;
  // Numbers above the signed range are read as unsigned ones: compare before converting.
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() >= kHigh) ||
      value.get<int64_t>() >= kHigh || value.get<int64_t>() < low) {
    throw wrong(key, fmt::format("an integer from {} to 2^31 - 1", low));
  }
  return value.get<int64_t>();
}

double JsonFields::positive(const std::string& key, std::optional<double> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const json& value = require(key);
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number > 0) || !std::isfinite(number)) throw wrong(key, "a positive number");
  return number;
}

bool JsonFields::boolean(const std::string& key, bool fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) throw wrong(key, "true or false");
  return value->get<bool>();
}

std::string JsonFields::string(const std::string& key, std::optional<std::string> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const json& value = require(key);
  if (!value.is_string()) throw wrong(key, "a string");
  return value.get<std::string>();
}

}  // namespace kvx::model
