#include "eval/check/case.h"

#include <fmt/core.h>

#include <charconv>

#include "eval/files.h"
#include "eval/number.h"
#include "sim/api/error.h"

namespace kvx::check {
namespace {

using eval::Json;

int64_t number(std::string_view key, std::string_view text, int64_t min, int64_t max) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max)
    throw usage_error(fmt::format("case: {}={}: not a number in {} .. {}", key, text, min, max));
  return value;
}

bool choice(std::string_view key, std::string_view text, std::string_view no,
            std::string_view yes) {
  if (text == no) return false;
  if (text == yes) return true;
  throw usage_error(fmt::format("case: {}={}: {} or {}", key, text, no, yes));
}

void set(Case& one, std::string_view key, std::string_view value) {
  if (key == "scheme") {
    one.scheme = value;
  } else if (key == "heads") {
    std::tie(one.q_heads, one.kv_heads) = parse_heads(value);
  } else if (key == "dim") {
    one.dim = static_cast<int>(number(key, value, 1, 4096));
  } else if (key == "k") {
    one.k = gen::parse_fill(value);
  } else if (key == "v") {
    one.v = gen::parse_fill(value);
  } else if (key == "q") {
    one.q = gen::parse_fill(value);
  } else if (key == "seed") {
    one.seed = static_cast<uint64_t>(number(key, value, 0, INT64_MAX));
  } else if (key == "steps") {
    one.steps = parse_steps(value);
  } else if (key == "batch") {
    one.batch = static_cast<int>(number(key, value, 1, 64));
  } else if (key == "windows") {
    one.windows = parse_windows(value);
  } else if (key == "nonfinite") {
    one.nonfinite = parse_nonfinite(value);
  } else if (key == "arithmetic") {
    one.arithmetic = parse_arithmetic(value);
  } else if (key == "inspect") {
    one.inspect_each = choice(key, value, "end", "each");
  } else if (key == "attend") {
    one.attend_each = choice(key, value, "end", "each");
  } else {
    throw usage_error(fmt::format("case: unknown key '{}'", key));
  }
}

void check_complete(const Case& one) {
  if (one.scheme.empty()) throw usage_error("case: scheme is missing");
  if (one.steps.empty()) throw usage_error("case: steps are missing");
}

// In the order of the text; those at their default are left out.
std::vector<std::pair<std::string, std::string>> words(const Case& one) {
  const Case plain;
  std::vector<std::pair<std::string, std::string>> all = {
      {"scheme", one.scheme},
      {"heads", fmt::format("{}/{}", one.q_heads, one.kv_heads)},
      {"dim", std::to_string(one.dim)}};
  const auto add = [&](bool differs, const char* key, const std::string& value) {
    if (differs) all.emplace_back(key, value);
  };
  add(one.k != plain.k, "k", gen::fill_name(one.k));
  add(one.v != plain.v, "v", gen::fill_name(one.v));
  add(one.q != plain.q, "q", gen::fill_name(one.q));
  all.emplace_back("seed", std::to_string(one.seed));
  all.emplace_back("steps", steps_text(one.steps));
  add(one.batch != plain.batch, "batch", std::to_string(one.batch));
  add(one.windows != plain.windows, "windows", "none");
  add(one.nonfinite != plain.nonfinite, "nonfinite", "propagate");
  add(one.arithmetic != plain.arithmetic, "arithmetic", arithmetic_name(one.arithmetic));
  add(one.inspect_each, "inspect", "each");
  add(one.attend_each, "attend", "each");
  return all;
}

// "2r+1"
int64_t count_of(std::string_view word, const StepLetters& letters) {
  const auto digits = [](std::string_view text) {
    return std::min(text.find_first_not_of("0123456789"), text.size());
  };
  const size_t lead = digits(word);
  if (lead == word.size()) return number("steps", word, 0, 1 << 20);
  const char letter = word[lead];
  if (letter != 'g' && letter != 'r') return number("steps", word, 0, 1 << 20);
  const int64_t times = lead == 0 ? 1 : number("steps", word.substr(0, lead), 0, 1024);
  const int64_t unit = letter == 'g' ? letters.g : letters.r;
  const std::string_view rest = word.substr(lead + 1);
  int64_t more = 0;
  if (!rest.empty()) {
    if (rest[0] != '+' && rest[0] != '-') number("steps", word, 0, 0);
    more = number("steps", rest.substr(1), 0, 1 << 20) * (rest[0] == '-' ? -1 : 1);
  }
  return std::max<int64_t>(0, times * unit + more);
}

}  // namespace

std::vector<Step> parse_steps(std::string_view text, const StepLetters& letters) {
  std::vector<Step> steps;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view word = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (word == "fork") {
      steps.push_back({Step::kFork, 0});
    } else if (word == "settle") {
      steps.push_back({Step::kSettle, 0});
    } else if (word.starts_with("cut")) {
      steps.push_back({Step::kCut, count_of(word.substr(3), letters)});
    } else {
      const size_t times = std::min(word.find('x'), word.size());
      const int64_t repeat =
          times == word.size() ? 1 : number("steps", word.substr(times + 1), 1, 4096);
      const Step step{Step::kAppend, count_of(word.substr(0, times), letters)};
      if (step.count > 0) steps.insert(steps.end(), static_cast<size_t>(repeat), step);
    }
  }
  return steps;
}

std::string steps_text(const std::vector<Step>& steps) {
  std::string text;
  for (size_t i = 0; i < steps.size();) {
    size_t end = i + 1;
    while (end < steps.size() && steps[end] == steps[i]) ++end;
    const bool repeats = steps[i].kind == Step::kAppend && end - i > 1;
    if (!repeats) end = i + 1;
    if (i > 0) text += ',';
    switch (steps[i].kind) {
      case Step::kFork:
        text += "fork";
        break;
      case Step::kSettle:
        text += "settle";
        break;
      case Step::kCut:
        text += fmt::format("cut{}", steps[i].count);
        break;
      case Step::kAppend:
        text += std::to_string(steps[i].count);
        if (repeats) text += fmt::format("x{}", end - i);
        break;
    }
    i = end;
  }
  return text;
}

int64_t Case::tokens() const {
  int64_t total = 0;
  for (const Step& step : steps) {
    if (step.kind == Step::kAppend) total += step.count;
    if (step.kind == Step::kCut) total = std::max<int64_t>(0, total - step.count);
  }
  return total;
}

std::pair<int, int> parse_heads(std::string_view text) {
  const size_t slash = std::min(text.find('/'), text.size());
  const auto q = static_cast<int>(number("heads", text.substr(0, slash), 1, 1024));
  const auto kv =
      slash == text.size() ? q : static_cast<int>(number("heads", text.substr(slash + 1), 1, 1024));
  if (q % kv != 0)
    throw usage_error(fmt::format("case: heads={}: query heads are no multiple of KV heads", text));
  return {q, kv};
}

Windows parse_windows(std::string_view text) {
  return choice("windows", text, "kept", "none") ? Windows::kNone : Windows::kKept;
}

NonFinite parse_nonfinite(std::string_view text) {
  return choice("nonfinite", text, "refuse", "propagate") ? NonFinite::kPropagate
                                                          : NonFinite::kRefuse;
}

Arithmetic parse_arithmetic(std::string_view text) {
  return choice("arithmetic", text, "ieee", "fixed") ? Arithmetic::kFixed : Arithmetic::kIeee;
}

Case parse_case(std::string_view text) {
  Case one;
  while (!text.empty()) {
    const size_t blank = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, blank);
    text.remove_prefix(std::min(blank + 1, text.size()));
    if (word.empty()) continue;
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos)
      throw usage_error(fmt::format("case: '{}' is not key=value", word));
    set(one, word.substr(0, equals), word.substr(equals + 1));
  }
  check_complete(one);
  return one;
}

std::string case_text(const Case& one) {
  std::string text;
  for (const auto& [key, value] : words(one))
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

Case read_case(const std::string& path) {
  try {
    const Json json = Json::parse(eval::read_file(path));
    Case one;
    for (const auto& [key, value] : json.at("case").items())
      set(one, key, value.get_ref<const std::string&>());
    one.name = json.value("name", path);
    check_complete(one);
    return one;
  } catch (const nlohmann::json::exception& error) {
    throw usage_error(fmt::format("{}: not a saved case: {}", path, error.what()));
  }
}

void write_case(const std::string& path, const Case& one, const std::string& why) {
  Json fields;
  for (const auto& [key, value] : words(one)) fields[key] = value;
  eval::write_file(path,
                   eval::json_text({{"name", one.name}, {"case", fields}, {"why", why}}, 2) + "\n");
}

}  // namespace kvx::check
