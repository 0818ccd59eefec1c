// Keys of a scheme as data: parser, canonical form, help and `kvx list` follow from this table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvx {

enum class KeyKind : uint8_t {
  kInt,         // k4, g32, r128 (glued), values limited by `ints` or [min, max]
  kReal,        // o0.01 (glued)
  kWord,        // profile=paper; `words` lists the choices
  kFlag,        // a bare word out of `words`: e4m3, sym, q8_0
  kArtifact,    // cb=#hash or cb=path
  kDescriptor,  // base=(kivi:k2v2)
};

struct KeySpec {
  std::string_view name;
  KeyKind kind = KeyKind::kInt;
  std::string_view doc = {};
  std::string_view fallback = {};  // canonical default; empty: none
  bool required = false;           // absent and no fallback: an error if required, else "unset"
  bool glued_to_previous = false;  // printed as one item with the key before it: k4v2
  std::vector<int64_t> ints = {};  // allowed values; empty: [min, max]
  int64_t min = 0;
  int64_t max = INT64_MAX;
  std::vector<std::string_view> words = {};
};

struct SchemeSchema {
  std::string_view name;
  int version = 1;  // rises with every change that can move a bit; recorded as name@version
  std::string_view summary;
  std::string_view paper;
  std::vector<KeySpec> keys;
};

struct Alias {
  std::string_view name;        // a neighbour's name, e.g. "f16"
  std::string_view descriptor;  // what it stands for here
};

// From schemes.def, in its order.
std::span<const SchemeSchema> schemes();
std::span<const Alias> aliases();
const SchemeSchema* find_scheme(std::string_view name);

}  // namespace kvx
