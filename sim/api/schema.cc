#include "sim/api/schema.h"

#include <algorithm>

namespace kvx {

std::span<const SchemeSchema> schemes() {
#define KVX_SCHEME(name, version, summary, paper, ...) \
  SchemeSchema{#name, version, summary, paper, {__VA_ARGS__}},
#define KVX_ALIAS(...)
  static const std::vector<SchemeSchema> kSchemes = {
#include "sim/api/schemes.def"
  };
#undef KVX_SCHEME
#undef KVX_ALIAS
  return kSchemes;
}

std::span<const Alias> aliases() {
#define KVX_SCHEME(...)
#define KVX_ALIAS(name, descriptor) Alias{name, descriptor},
  static const std::vector<Alias> kAliases = {
#include "sim/api/schemes.def"
  };
#undef KVX_SCHEME
#undef KVX_ALIAS
  return kAliases;
}

const SchemeSchema* find_scheme(std::string_view name) {
  const auto all = schemes();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const SchemeSchema& schema) { return schema.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace kvx
