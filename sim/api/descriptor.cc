#include "sim/api/descriptor.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <stdexcept>
#include <system_error>

#include "sim/api/error.h"

namespace kvx {
namespace {

constexpr size_t kMaxText = 4096;   // characters of a descriptor or a sweep
constexpr size_t kMaxSweep = 4096;  // results of a sweep

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

void check_text(std::string_view text) {
  if (text.size() > kMaxText) {
    throw usage_error("descriptor of " + std::to_string(text.size()) + " characters: longer than " +
                      std::to_string(kMaxText));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) {
      throw usage_error("descriptor has a control character at byte " + std::to_string(i));
    }
  }
}

// "a, b or c"
template <class Words>
std::string one_of(const Words& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string hint(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view near = nearest(word, candidates);
  return near.empty() ? std::string() : "; did you mean " + quoted(near) + "?";
}

// Splits at `separator` outside parentheses; throws where parentheses do not balance.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth < 0) break;
    if (text[i] == separator && depth == 0) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  if (depth != 0) throw usage_error("parentheses do not balance in " + quoted(text));
  parts.push_back(text.substr(start));
  return parts;
}

// Length of ["-"] digits ["." digits] at the start of text; 0 where there is none.
size_t number_length(std::string_view text) {
  const auto digits = [&](size_t i) {
    while (i < text.size() && is_digit(text[i])) ++i;
    return i;
  };
  const size_t sign = text.starts_with('-') ? 1 : 0;
  const size_t whole = digits(sign);
  if (whole == sign) return 0;
  if (whole == text.size() || text[whole] != '.') return whole;
  const size_t fraction = digits(whole + 1);
  return fraction == whole + 1 ? whole : fraction;
}

bool has_leading_zero(std::string_view number) {
  if (number.starts_with('-')) number.remove_prefix(1);
  return number.size() > 1 && number[0] == '0' && is_digit(number[1]);
}

std::string real_text(double value) {
  char buffer[512];  // the longest shortest form, of the smallest double, has 327 characters
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed);
  return {buffer, end.ptr};
}

const KeySpec* find_key(const SchemeSchema& schema, std::string_view name) {
  for (const KeySpec& key : schema.keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

const KeySpec* find_flag(const SchemeSchema& schema, std::string_view word) {
  for (const KeySpec& key : schema.keys) {
    if (key.kind != KeyKind::kFlag) continue;
    if (std::find(key.words.begin(), key.words.end(), word) != key.words.end()) return &key;
  }
  return nullptr;
}

bool is_number(const KeySpec& key) {
  return key.kind == KeyKind::kInt || key.kind == KeyKind::kReal;
}

std::string place(const SchemeSchema& schema, const KeySpec& key) {
  return std::string(schema.name) + ": " + std::string(key.name);
}

std::string range_text(const KeySpec& key) {
  if (key.ints.empty()) {
    return key.max == INT64_MAX
               ? "at least " + std::to_string(key.min)
               : "in " + std::to_string(key.min) + " .. " + std::to_string(key.max);
  }
  std::vector<std::string> choices;
  for (const int64_t value : key.ints) choices.push_back(std::to_string(value));
  return one_of(choices);
}

std::string canonical_int(const SchemeSchema& schema, const KeySpec& key, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || has_leading_zero(text) || text == "-0") {
    throw usage_error(place(schema, key) + " must be an integer without leading zeros, not " +
                      quoted(text));
  }
  const bool allowed = key.ints.empty()
                           ? value >= key.min && value <= key.max
                           : std::find(key.ints.begin(), key.ints.end(), value) != key.ints.end();
  if (!allowed) {
    throw usage_error(place(schema, key) + " must be " + range_text(key) + ", not " +
                      std::string(text));
  }
  return std::string(text);
}

std::string canonical_real(const SchemeSchema& schema, const KeySpec& key, std::string_view text) {
  double value = 0;
  const bool syntax = !text.empty() && number_length(text) == text.size();
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (!syntax || has_leading_zero(text) || error != std::errc() ||
      end != text.data() + text.size()) {
    throw usage_error(place(schema, key) + " must be a decimal number, not " + quoted(text));
  }
  if (value < static_cast<double>(key.min) || value > static_cast<double>(key.max)) {
    throw usage_error(place(schema, key) + " must be " + range_text(key) + ", not " +
                      std::string(text));
  }
  return real_text(value == 0 ? 0.0 : value);
}

std::string canonical_word(const SchemeSchema& schema, const KeySpec& key, std::string_view text) {
  if (std::find(key.words.begin(), key.words.end(), text) == key.words.end()) {
    throw usage_error(place(schema, key) + " must be " + one_of(key.words) + ", not " +
                      quoted(text) + hint(text, key.words));
  }
  return std::string(text);
}

std::string canonical_artifact(const SchemeSchema& schema, const KeySpec& key,
                               std::string_view text) {
  const auto is_hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); };
  const std::string_view hash = text.starts_with('#') ? text.substr(1) : std::string_view();
  const bool good =
      text.starts_with('#')
          ? hash.size() >= 8 && hash.size() <= 64 && std::all_of(hash.begin(), hash.end(), is_hex)
          : !text.empty() && text.find_first_of("(){},") == std::string_view::npos;
  if (!good) {
    throw usage_error(place(schema, key) +
                      " must be a path without any of (){}, or # and 8 to 64 hexadecimal digits, "
                      "not " +
                      quoted(text));
  }
  return std::string(text);
}

std::string canonical_inner(const SchemeSchema& schema, const KeySpec& key, std::string_view text) {
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') {
    throw usage_error(place(schema, key) + " must be a descriptor in parentheses, not " +
                      quoted(text));
  }
  return Descriptor::parse(text.substr(1, text.size() - 2)).str();
}

std::string canonical_value(const SchemeSchema& schema, const KeySpec& key, std::string_view text) {
  switch (key.kind) {
    case KeyKind::kInt:
      return canonical_int(schema, key, text);
    case KeyKind::kReal:
      return canonical_real(schema, key, text);
    case KeyKind::kWord:
    case KeyKind::kFlag:
      return canonical_word(schema, key, text);
    case KeyKind::kArtifact:
      return canonical_artifact(schema, key, text);
    case KeyKind::kDescriptor:
      return canonical_inner(schema, key, text);
  }
  throw std::logic_error("key kind");
}

// Everything an item may be, as it is written.
std::vector<std::string> spellings(const SchemeSchema& schema) {
  std::vector<std::string> all;
  for (const KeySpec& key : schema.keys) {
    if (key.kind == KeyKind::kFlag) {
      all.insert(all.end(), key.words.begin(), key.words.end());
    } else if (key.kind == KeyKind::kWord) {
      for (const std::string_view word : key.words) {
        all.push_back(std::string(key.name) + "=" + std::string(word));
      }
    } else {
      all.emplace_back(key.name);
    }
  }
  return all;
}

[[noreturn]] void unknown_key(const SchemeSchema& schema, std::string_view key) {
  std::vector<std::string_view> names;
  for (const KeySpec& known : schema.keys) names.push_back(known.name);
  throw usage_error(std::string(schema.name) + ": unknown key " + quoted(key) + hint(key, names) +
                    " (keys: " + one_of(names) + ")");
}

[[noreturn]] void unknown_item(const SchemeSchema& schema, std::string_view item) {
  const std::vector<std::string> all = spellings(schema);
  const std::string start = std::string(schema.name) + ": unknown item " + quoted(item);
  std::string value(1, '=');
  value += item;
  for (const std::string& known : all) {  // the value of a word key without its key
    if (known.ends_with(value)) {
      throw usage_error(start + "; did you mean " + quoted(known) + "?");
    }
  }
  const std::vector<std::string_view> views(all.begin(), all.end());
  throw usage_error(start + hint(item, views) + " (items: " + one_of(all) + ")");
}

}  // namespace

Descriptor Descriptor::parse(std::string_view text) {
  check_text(text);
  const std::string_view head = text.substr(0, text.find(':'));
  for (const Alias& alias : aliases()) {
    if (alias.name != head) continue;
    // An alias that is a scheme's name stands for the bare name alone.
    if (head.size() != text.size() && find_scheme(alias.name) != nullptr) continue;
    if (head.size() == text.size()) return parse(alias.descriptor);
    const bool has_items = alias.descriptor.find(':') != std::string_view::npos;
    return parse(std::string(alias.descriptor) + (has_items ? "," : ":") +
                 std::string(text.substr(head.size() + 1)));
  }
  const std::string_view name = head.substr(0, head.find('@'));
  const SchemeSchema* schema = find_scheme(name);
  if (schema == nullptr) {
    std::vector<std::string_view> names;
    for (const SchemeSchema& known : schemes()) names.push_back(known.name);
    std::vector<std::string_view> candidates = names;
    for (const Alias& alias : aliases()) candidates.push_back(alias.name);
    throw usage_error("unknown scheme " + quoted(name) + hint(name, candidates) +
                      " (schemes: " + one_of(names) + ")");
  }
  return parse(text, *schema);
}

Descriptor Descriptor::parse(std::string_view text, const SchemeSchema& schema) {
  check_text(text);
  const size_t colon = text.find(':');
  const std::string_view head = text.substr(0, colon);
  const std::string name(schema.name);
  if (head != schema.name && head != name + "@" + std::to_string(schema.version)) {
    throw usage_error(head.starts_with(name + "@")
                          ? "this program has version " + std::to_string(schema.version) + " of " +
                                name + ", not " + quoted(head)
                          : "scheme " + quoted(head) + " is not " + name);
  }

  Descriptor result;
  result.schema_ = &schema;
  const auto set = [&](const KeySpec& key, std::string_view value) {
    if (!result.values_.emplace(key.name, canonical_value(schema, key, value)).second) {
      throw usage_error(place(schema, key) + " is given twice");
    }
  };
  const auto set_glued = [&](std::string_view item) {
    size_t at = 0;
    while (at < item.size()) {
      size_t end = at;
      while (end < item.size() && is_letter(item[end])) ++end;
      const size_t digits = number_length(item.substr(end));
      if (end == at || digits == 0) unknown_item(schema, item);
      const std::string_view letters = item.substr(at, end - at);
      const KeySpec* key = find_key(schema, letters);
      if (key == nullptr) unknown_key(schema, letters);
      if (!is_number(*key)) unknown_item(schema, item);
      set(*key, item.substr(end, digits));
      at = end + digits;
    }
  };

  if (colon != std::string_view::npos) {
    for (const std::string_view item : split(text.substr(colon + 1), ',')) {
      if (item.empty()) throw usage_error(name + ": empty item in " + quoted(text));
      const size_t equals = item.find('=');
      if (const KeySpec* flag = find_flag(schema, item)) {
        set(*flag, item);
      } else if (equals == std::string_view::npos) {
        set_glued(item);
      } else if (const KeySpec* key = find_key(schema, item.substr(0, equals))) {
        set(*key, item.substr(equals + 1));
      } else {
        unknown_key(schema, item.substr(0, equals));
      }
    }
  }

  for (const KeySpec& key : schema.keys) {
    const auto found = result.values_.find(key.name);
    if (found == result.values_.end()) {
      if (key.required && key.fallback.empty()) {
        const std::string choices = key.words.empty() ? std::string() : ": " + one_of(key.words);
        throw usage_error(place(schema, key) + " (" + std::string(key.doc) + choices +
                          ") is required");
      }
    } else if (found->second == key.fallback) {
      result.values_.erase(found);
    }
  }
  return result;
}

std::string Descriptor::str() const {
  std::string items;
  bool previous = false;  // whether the key before this one was printed
  for (const KeySpec& key : schema_->keys) {
    const auto found = values_.find(key.name);
    const bool set = found != values_.end();
    if (set) {
      if (!items.empty() && !(previous && key.glued_to_previous)) items += ',';
      if (key.kind != KeyKind::kFlag) items += key.name;
      if (key.kind != KeyKind::kFlag && !is_number(key)) items += '=';
      items += key.kind == KeyKind::kDescriptor ? "(" + found->second + ")" : found->second;
    }
    previous = set;
  }
  return std::string(schema_->name) + (items.empty() ? "" : ":" + items);
}

std::string Descriptor::versioned() const {
  const size_t name = schema_->name.size();
  return std::string(schema_->name) + "@" + std::to_string(schema_->version) + str().substr(name);
}

std::string Descriptor::get_word(std::string_view key) const {
  const KeySpec* spec = find_key(*schema_, key);
  if (spec == nullptr) throw std::logic_error("no key " + std::string(key));
  const auto found = values_.find(key);
  return found == values_.end() ? std::string(spec->fallback) : found->second;
}

std::optional<int64_t> Descriptor::find_int(std::string_view key) const {
  const std::string text = get_word(key);
  if (text.empty()) return std::nullopt;
  return std::stoll(text);
}

int64_t Descriptor::get_int(std::string_view key) const {
  const std::optional<int64_t> value = find_int(key);
  if (!value) throw std::logic_error("key without value: " + std::string(key));
  return *value;
}

double Descriptor::get_real(std::string_view key) const {
  const std::string text = get_word(key);
  if (text.empty()) throw std::logic_error("key without value: " + std::string(key));
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<std::string> expand_sweep(std::string_view text) {
  check_text(text);
  const size_t open = text.find_first_of("{}");
  if (open == std::string_view::npos) return {std::string(text)};

  // The alternatives of the leftmost braces: commas inside inner braces or parentheses are not
  // theirs.
  std::vector<std::string_view> alternatives;
  size_t start = open + 1;
  size_t close = open;
  int depth = 0;
  int parentheses = 0;
  for (size_t i = open; i < text.size() && close == open; ++i) {
    if (text[i] == '(') ++parentheses;
    if (text[i] == ')') --parentheses;
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth <= 0) close = i;
    if (depth == 1 && parentheses == 0 && text[i] == ',') {
      alternatives.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  if (close == open) throw usage_error("braces do not balance in " + quoted(text));
  alternatives.push_back(text.substr(start, close - start));

  const std::vector<std::string> tails = expand_sweep(text.substr(close + 1));
  std::vector<std::string> results;
  for (const std::string_view alternative : alternatives) {
    for (const std::string& middle : expand_sweep(alternative)) {
      for (const std::string& tail : tails) {
        if (results.size() == kMaxSweep) {
          throw usage_error("sweep of more than " + std::to_string(kMaxSweep) + " descriptors");
        }
        results.push_back(std::string(text.substr(0, open)) + middle + tail);
      }
    }
  }
  return results;
}

// Edits are insertion, deletion, replacement and exchange of neighbours (optimal string alignment).
// Near: at most a third of the word, and something in common with it.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  const size_t n = std::min<size_t>(word.size(), 64);
  size_t limit = std::min((n + 2) / 3, n > 0 ? n - 1 : 0);
  for (const std::string_view candidate : candidates) {
    const size_t m = candidate.size();
    std::vector<std::vector<size_t>> cost(n + 1, std::vector<size_t>(m + 1));
    for (size_t i = 0; i <= n; ++i) {
      for (size_t j = 0; j <= m; ++j) {
        if (i == 0 || j == 0) {
          cost[i][j] = i + j;
          continue;
        }
        cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                               cost[i - 1][j - 1] + (word[i - 1] != candidate[j - 1])});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1]) {
          cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
        }
      }
    }
    if (cost[n][m] <= limit && (best.empty() || cost[n][m] < limit)) {
      best = candidate;
      limit = cost[n][m];
    }
  }
  return best;
}

}  // namespace kvx
