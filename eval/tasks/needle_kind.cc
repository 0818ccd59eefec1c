#include "eval/tasks/needle_kind.h"

#include <fmt/core.h>

#include <array>
#include <string_view>
#include <utility>

#include "sim/api/error.h"

namespace kvx::eval {

NeedleKind parse_needle_kind(const std::string& name) {
  using Asks = NeedleKind::Asks;
  constexpr std::array<std::pair<std::string_view, Asks>, 3> kCounted{
      {{"multikey", Asks::kOneKey},
       {"multivalue", Asks::kOneKeysAll},
       {"multiquery", Asks::kEveryKey}}};
  if (name == "single") return {name, Asks::kOneKey, 1};
  if (name == "passkey") return {name, Asks::kPasskey, 1};
  for (const auto& [stem, asks] : kCounted)
    for (int n = 2; n <= 16; ++n)
      if (name == fmt::format("{}{}", stem, n)) return {name, asks, n};
  throw usage_error(fmt::format(
      "kind of needle '{}': must be single, multikeyN, multivalueN or multiqueryN with N "
      "of 2 to 16, or passkey",
      name));
}

}  // namespace kvx::eval
