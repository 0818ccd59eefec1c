#include "eval/options.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "eval/text_table.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace po = boost::program_options;

namespace {

[[noreturn]] void throw_unknown(const po::options_description& visible, const std::string& word) {
  std::vector<std::string> names;
  for (const auto& option : visible.options()) names.push_back("--" + option->long_name());
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view near = nearest(word, views);
  throw usage_error(fmt::format("unknown option '{}'{}", word,
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace

Options::Options(const po::options_description& visible, const std::vector<std::string>& words,
                 const std::string& positional, size_t most) {
  try {
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::parsed_options parsed =
        po::command_line_parser(words).options(visible).style(style).allow_unregistered().run();
    std::vector<std::string> taken;
    std::vector<po::option> known;
    for (const po::option& option : parsed.options) {
      if (option.unregistered) throw_unknown(visible, option.original_tokens.front());
      if (option.position_key < 0) {
        known.push_back(option);
        continue;
      }
      const std::string stray = option.value.empty() ? "" : option.value.front();
      if (positional.empty() || taken.size() == most)
        throw usage_error(fmt::format("unexpected word '{}'", stray));
      taken.push_back(stray);
    }
    parsed.options = known;
    po::store(parsed, values_);
    if (taken.empty()) return;
    const boost::any value = most == 1 ? boost::any(taken.front()) : boost::any(taken);
    values_.insert({positional, po::variable_value(value, false)});
  } catch (const po::error& error) {
    throw usage_error(error.what());
  }
}

std::string Options::text(const std::string& name) const { return values_[name].as<std::string>(); }

std::string Options::required(const std::string& name) const {
  if (!has(name)) throw usage_error(fmt::format("--{} is required", name));
  const std::string value = text(name);
  if (value.empty()) throw usage_error(fmt::format("--{}: empty", name));
  return value;
}

std::vector<std::string> Options::list(const std::string& name) const {
  return has(name) ? values_[name].as<std::vector<std::string>>() : std::vector<std::string>{};
}

int64_t Options::integer(const std::string& name, int64_t min, int64_t max) const {
  const std::string value = text(name);
  int64_t number = 0;
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < min || number > max)
    throw usage_error(
        fmt::format("--{} '{}': must be an integer from {} to {}", name, value, min, max));
  return number;
}

std::string Options::choice(const std::string& name,
                            std::span<const std::string_view> choices) const {
  const std::string value = text(name);
  check_choice("--" + name, value, choices);
  return value;
}

void print_help(std::string_view text, const boost::program_options::options_description& visible) {
  std::ostringstream options;
  options << visible;
  fmt::print("{}{}", text, options.str());
}

void check_choice(std::string_view option, std::string_view value,
                  std::span<const std::string_view> choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  const std::string_view near = nearest(value, choices);
  throw usage_error(fmt::format("{} '{}': must be one of {}{}", option, value, join(choices, ", "),
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

std::vector<std::string> split_commas(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    size_t begin = 0;
    for (size_t comma; (comma = value.find(',', begin)) != std::string::npos; begin = comma + 1)
      parts.push_back(value.substr(begin, comma - begin));
    parts.push_back(value.substr(begin));
  }
  return parts;
}

}  // namespace kvx::eval
