#include "eval/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "eval/options.h"
#include "sim/api/error.h"

namespace kvx::eval {

using model::CacheMode;

namespace {
constexpr std::array<CacheMode, 4> kModes{CacheMode::kAll, CacheMode::kStreamed,
                                          CacheMode::kPrefillExact, CacheMode::kContextExact};
}  // namespace

std::vector<Descriptor> parse_schemes(const std::vector<std::string>& texts, ArtifactStore& store,
                                      const Note& note) {
  std::vector<Descriptor> schemes;
  for (const std::string& text : texts) {
    for (const std::string& one : expand_sweep(text)) {
      const Descriptor scheme = store.parse(one);
      if (std::find(schemes.begin(), schemes.end(), scheme) == schemes.end()) {
        schemes.push_back(scheme);
      } else {
        note(fmt::format("--scheme {}: {} is named twice and measured once", one, scheme.str()));
      }
    }
  }
  return schemes;
}

std::vector<CacheMode> parse_ppl_modes(const std::vector<std::string>& texts, bool context) {
  std::vector<std::string> names;
  for (const CacheMode mode : kModes) names.emplace_back(model::cache_mode_name(mode));
  const std::vector<std::string_view> choices(names.begin(), names.end());
  std::vector<CacheMode> modes;
  bool with_context = false;
  for (const std::string& text : split_commas(texts)) {
    check_choice("--mode", text, choices);
    const CacheMode mode =
        kModes[static_cast<size_t>(std::find(names.begin(), names.end(), text) - names.begin())];
    const bool needs_context = mode == CacheMode::kPrefillExact || mode == CacheMode::kContextExact;
    if (needs_context && !context)
      throw usage_error(
          fmt::format("--mode {}: one pass over a whole window reads nothing quantised in this "
                      "mode; give --context N, the tokens that are read exactly before the rest "
                      "reads the cache",
                      text));
    with_context = with_context || needs_context;
    if (std::find(modes.begin(), modes.end(), mode) == modes.end()) modes.push_back(mode);
  }
  if (context && !with_context)
    throw usage_error("--context: only modes prefill-exact and context-exact have one");
  return modes;
}

}  // namespace kvx::eval
