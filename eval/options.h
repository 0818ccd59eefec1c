// Command-line options of one verb: Boost.Program_options without prefix guessing, errors with the
// nearest option.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::eval {

class Options {
 public:
  // `visible` describes every option; words without an option are taken as `positional`, if that is
  // not empty: at most `most` of them, `text` of one or `list`. Throws usage Errors: unknown option
  // (with the nearest), missing or malformed value, stray word.
  Options(const boost::program_options::options_description& visible,
          const std::vector<std::string>& words, const std::string& positional = {},
          size_t most = 1);

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  bool given(const std::string& name) const {  // and not by default
    return has(name) && !values_[name].defaulted();
  }
  std::string text(const std::string& name) const;      // must be set or have a default
  std::string required(const std::string& name) const;  // usage Error where absent or empty
  std::vector<std::string> list(const std::string& name) const;  // empty where absent
  // An integer in [min, max], else a usage Error.
  int64_t integer(const std::string& name, int64_t min, int64_t max) const;
  // One of `choices`, else a usage Error with the nearest.
  std::string choice(const std::string& name, std::span<const std::string_view> choices) const;
  bool flag(const std::string& name) const { return values_[name].as<bool>(); }

 private:
  boost::program_options::variables_map values_;
};

// A verb's help on standard output: `text`, then the options.
void print_help(std::string_view text, const boost::program_options::options_description& visible);

// `value` must be one of `choices`; else a usage Error naming option, value and the nearest choice.
void check_choice(std::string_view option, std::string_view value,
                  std::span<const std::string_view> choices);

// "a,b" and "c" -> a b c.
std::vector<std::string> split_commas(const std::vector<std::string>& values);

}  // namespace kvx::eval
