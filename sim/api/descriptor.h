// The string that names a scheme. Equal canonical strings promise equal bits.
//
//   descriptor = name [ ":" item { "," item } ]
//   item       = flag | glued | key "=" value            flags are matched first
//   glued      = { letters number }                       e.g. k4v2 (two keys), g32, o0.01
//   value      = number | word | "#" hash | path | "(" descriptor ")"
//   sweep      = "{" alternative { "," alternative } "}"  expanded before parsing
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/api/schema.h"

namespace kvx {

class Descriptor {
 public:
  // Throws a usage Error: unknown scheme or key (with the nearest valid one), duplicate key,
  // missing required key, value out of range, bad syntax. An alias may stand for the whole text or,
  // before ":", for its name and first items (kivi2:g64); one that is a scheme's name stands for
  // the bare name only (fp8). "name@version" must be this version.
  static Descriptor parse(std::string_view text);
  // The same for a scheme that need not be registered: text must begin with its name.
  static Descriptor parse(std::string_view text, const SchemeSchema& schema);

  const SchemeSchema& schema() const { return *schema_; }
  std::string_view name() const { return schema_->name; }

  // Canonical text: keys in schema order, defaults dropped; parse(str()) == *this.
  std::string str() const;
  // str() with the version behind the name: "kivi@1:k2v2". What results record.
  std::string versioned() const;

  // Value of an integer key, its default where absent; nullopt where unset without default.
  std::optional<int64_t> find_int(std::string_view key) const;
  int64_t get_int(std::string_view key) const;  // must be set or have a default
  double get_real(std::string_view key) const;
  // Word, flag, artifact or inner descriptor; empty where unset without default.
  std::string get_word(std::string_view key) const;
  bool has_flag(std::string_view key) const { return !get_word(key).empty(); }

  bool operator==(const Descriptor& other) const { return str() == other.str(); }

 private:
  const SchemeSchema* schema_ = nullptr;
  std::map<std::string, std::string, std::less<>> values_;  // canonical text by key
};

// "kivi:k{2,4}v{2,4}" -> four strings, leftmost braces varying slowest. Braces may nest.
// Throws a usage Error on unbalanced braces or more than 4096 results.
std::vector<std::string> expand_sweep(std::string_view text);

// The candidate with the smallest edit distance, or empty when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace kvx
