// At which lengths steps are timed, so that it is known what they seal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "gpu/cache/layout.h"

namespace kvx::gpu {

struct StepLengths {
  int32_t append = 0;           // tokens before a step that seals no unit of several tokens
  std::optional<int32_t> seal;  // before one that does, at least `append`; none: there are no units
};

// The least lengths of at least `tokens` for steps of `queries` tokens; `append` is `tokens` where
// every step seals a unit.
inline StepLengths step_lengths(std::span<const SealRule> rules, int32_t tokens, int32_t queries) {
  int32_t range = 1;
  bool units = false;
  for (const SealRule& rule : rules) {
    units = units || rule.unit > 1;
    range = std::max(range, rule.window + 2 * rule.unit);
  }
  const auto seals = [&](int32_t first) {
    return std::any_of(rules.begin(), rules.end(), [&](const SealRule& rule) {
      return rule.unit > 1 && rule.sealed(first + queries) > rule.sealed(first);
    });
  };
  StepLengths lengths;
  lengths.append = tokens;
  if (!units) return lengths;
  const auto least = [&](int32_t from, bool wanted) -> std::optional<int32_t> {
    for (int32_t first = from; first < from + range; ++first)
      if (seals(first) == wanted) return first;
    return std::nullopt;
  };
  lengths.append = least(tokens, false).value_or(tokens);
  lengths.seal = least(lengths.append, true);
  return lengths;
}

}  // namespace kvx::gpu
