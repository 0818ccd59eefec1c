#include "eval/tasks/needle_words.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <unordered_set>

#include "eval/files.h"
#include "sim/api/error.h"
#include "sim/model/checkpoint/json.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::eval {
namespace {

constexpr std::string_view kEmbedded =
#include "eval/tasks/needle_words.inc"
    ;
constexpr size_t kLongestWord = 64;

// Throws where a word cannot be part of a key; `place` is what the error calls it.
void check_word(const std::string& word, const std::string& place) {
  const auto wrong = [&](const std::string& what) {
    return environment_error(fmt::format("{} {}", place, what));
  };
  if (word.empty()) throw wrong("is empty");
  if (word.size() > kLongestWord)
    throw wrong(fmt::format("has {} bytes, more than {}", word.size(), kLongestWord));
  if (model::find_invalid_utf8(word) != std::string::npos) throw wrong("is not valid UTF-8");
  for (const char c : word)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      throw wrong(
          fmt::format("holds the control character 0x{:02x}", static_cast<unsigned char>(c)));
  if (word.front() == ' ' || word.back() == ' ') throw wrong("begins or ends with a blank");
}

std::vector<std::string> json_list(const model::JsonFields& fields, const char* field) {
  const nlohmann::json& list = fields.require(field);
  if (!list.is_array() || list.empty()) throw fields.wrong(field, "a list of words");
  std::vector<std::string> words;
  std::unordered_set<std::string> seen;
  for (const nlohmann::json& entry : list) {
    const std::string place = fmt::format("{}: field '{}[{}]'", fields.file(), field, words.size());
    if (!entry.is_string())
      throw environment_error(
          fmt::format("{} is of type {}, not a word", place, entry.type_name()));
    const std::string& word = words.emplace_back(entry.get<std::string>());
    check_word(word, place);
    if (!seen.insert(word).second)
      throw environment_error(fmt::format("{} is '{}' once more", place, word));
  }
  return words;
}

std::vector<std::string> text_list(const std::string& path) {
  constexpr std::string_view kBlank = " \t\r";
  const std::string text = read_file(path);
  std::vector<std::string> words;
  std::unordered_set<std::string> seen;
  size_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const size_t first = row.find_first_not_of(kBlank);
    if (first == std::string_view::npos) continue;
    std::string word(row.substr(first, row.find_last_not_of(kBlank) - first + 1));
    check_word(word, fmt::format("{}: line {}", path, line));
    if (seen.insert(word).second) words.push_back(std::move(word));
  }
  if (words.empty()) throw environment_error(path + ": has no words");
  return words;
}

}  // namespace

std::string NeedleWords::key(size_t index) const {
  return adjectives.at(index / nouns.size()) + "-" + nouns.at(index % nouns.size());
}

std::string NeedleWords::sha256() const {
  std::string text;
  for (const std::string& word : adjectives) text += word + "\n";
  text += "\n";
  for (const std::string& word : nouns) text += word + "\n";
  return sha256_hex(text);
}

const NeedleWords& embedded_needle_words() {
  static const NeedleWords words = parse_needle_words(kEmbedded, "data/tasks/needle_words.json");
  return words;
}

NeedleWords parse_needle_words(std::string_view json, const std::string& path) {
  const nlohmann::json object = model::parse_json(json, path);
  if (!object.is_object()) throw environment_error(path + ": is not a JSON object");
  const model::JsonFields fields(object, path);
  return {json_list(fields, "adjectives"), json_list(fields, "nouns")};
}

NeedleWords read_needle_words(const std::string& path) {
  const std::filesystem::path folder(path);
  std::error_code ignored;  // what cannot be looked at cannot be read either
  if (!std::filesystem::is_directory(folder, ignored))
    return parse_needle_words(read_file(path), path);
  return {text_list(folder / "adjectivelist.txt"), text_list(folder / "nounlist.txt")};
}

}  // namespace kvx::eval
