#include "eval/reproduce/recipe_fields.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "sim/model/checkpoint/file.h"

namespace kvx::reproduce {
namespace {

using model::file_error;
using model::printable;

constexpr size_t kLongestText = 2000, kLongestName = 64;

bool is_name(const std::string& text) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= kLongestName && plain(text.front()) &&
         std::ranges::all_of(text, [&](char c) {
           return plain(c) || c == '.' || c == '_' || c == '-' || c == '%';
         });
}

}  // namespace

Error Fields::wrong(const std::string& key, const std::string& value,
                    const std::string& expected) const {
  return file_error(
      file(), fmt::format("field '{}{}' is {}, not {}", prefix_, key, printable(value), expected));
}

Error Fields::because(const std::string& key, const std::string& value,
                      const std::string& reason) const {
  return file_error(file(),
                    fmt::format("field '{}{}' is {}: {}", prefix_, key, printable(value), reason));
}

void Fields::only(std::initializer_list<std::string_view> names) const {
  for (const auto& [key, value] : object().items())
    if (std::ranges::find(names, key) == names.end())
      throw file_error(file(), fmt::format("field {} is unknown; known are {}",
                                           printable(prefix_ + key), fmt::join(names, ", ")));
}

void Fields::check_text(const std::string& key, const std::string& text) const {
  if (text.size() > kLongestText)
    throw file_error(file(), fmt::format("field '{}{}' has {} bytes, more than {}", prefix_, key,
                                         text.size(), kLongestText));
  const bool control = std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (text.empty() || control) throw wrong(key, text, "one line of text");
}

std::string Fields::text(const std::string& key, std::optional<std::string> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const std::string value = string(key);
  check_text(key, value);
  return value;
}

std::string Fields::name(const std::string& key) const {
  const std::string value = string(key);
  if (!is_name(value))
    throw wrong(key, value, "a name of at most 64 characters a-z, 0-9, '.', '_', '-', '%'");
  return value;
}

int64_t Fields::integer(const std::string& key, int64_t low, int64_t high) const {
  const int64_t value = JsonFields::integer(key, {}, low);
  if (value > high)
    throw JsonFields::wrong(key, fmt::format("an integer from {} to {}", low, high));
  return value;
}

double Fields::number(const std::string& key) const {
  const nlohmann::json& value = require(key);
  if (!value.is_number()) throw JsonFields::wrong(key, "a number");
  return value.get<double>();
}

std::string Fields::choice(const std::string& key,
                           std::initializer_list<std::string_view> all) const {
  const std::string value = string(key);
  if (std::ranges::find(all, value) == all.end())
    throw wrong(key, value, fmt::format("one of {}", fmt::join(all, ", ")));
  return value;
}

std::vector<std::string> Fields::choices(const std::string& key,
                                         std::initializer_list<std::string_view> all) const {
  std::vector<std::string> chosen = texts(key, 1, all.size());
  for (const std::string& value : chosen)
    if (std::ranges::find(all, value) == all.end() || std::ranges::count(chosen, value) > 1)
      throw wrong(key, value, fmt::format("one of {}, each once", fmt::join(all, ", ")));
  return chosen;
}

const nlohmann::json& Fields::list(const std::string& key, size_t least, size_t most) const {
  const nlohmann::json& value = require(key);
  if (!value.is_array()) throw JsonFields::wrong(key, "a list");
  if (value.size() < least || value.size() > most)
    throw file_error(file(), fmt::format("field '{}{}' has {} entries, not {} to {}", prefix_, key,
                                         value.size(), least, most));
  return value;
}

std::vector<std::string> Fields::texts(const std::string& key, size_t least, size_t most) const {
  std::vector<std::string> all;
  for (const nlohmann::json& entry : list(key, least, most)) {
    const std::string place = fmt::format("{}[{}]", key, all.size());
    if (!entry.is_string())
      throw file_error(file(), fmt::format("field '{}{}' is of type {}, not a string", prefix_,
                                           place, entry.type_name()));
    check_text(place, all.emplace_back(entry.get<std::string>()));
  }
  return all;
}

Fields Fields::object(const std::string& key) const {
  return {require(key), file(), fmt::format("{}{}.", prefix_, key)};
}

std::vector<Fields> Fields::objects(const std::string& key, size_t least, size_t most) const {
  std::vector<Fields> all;
  if (least == 0 && find(key) == nullptr) return all;
  for (const nlohmann::json& entry : list(key, least, most))
    all.emplace_back(entry, file(), fmt::format("{}{}[{}].", prefix_, key, all.size()));
  return all;
}

}  // namespace kvx::reproduce
