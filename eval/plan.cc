#include "eval/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "eval/options.h"
#include "eval/pass.h"
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

namespace {

std::vector<CacheMode> parse_names(const std::vector<std::string>& texts) {
  std::vector<std::string> names;
  for (const CacheMode mode : kModes) names.emplace_back(model::cache_mode_name(mode));
  const std::vector<std::string_view> choices(names.begin(), names.end());
  std::vector<CacheMode> modes;
  for (const std::string& text : split_commas(texts)) {
    check_choice("--mode", text, choices);
    const CacheMode mode =
        kModes[static_cast<size_t>(std::find(names.begin(), names.end(), text) - names.begin())];
    if (std::find(modes.begin(), modes.end(), mode) == modes.end()) modes.push_back(mode);
  }
  return modes;
}

}  // namespace

TaskModes parse_modes(const std::vector<std::string>& texts, const AskedTasks& asked) {
  TaskModes out;
  bool with_context = false;
  for (const CacheMode mode : parse_names(texts)) {
    const bool needs_context = has_context(mode);
    const bool for_ppl = asked.ppl && (asked.context || !needs_context);
    const bool for_error = asked.error && !needs_context;
    const bool for_generated = asked.generated && mode != CacheMode::kAll;
    if (for_ppl) out.ppl.push_back(mode);
    if (for_error) out.error.push_back(mode);
    if (for_generated) out.generated.push_back(mode);
    with_context = with_context || (for_ppl && needs_context);
    if (for_ppl || for_error || for_generated) continue;
    if (mode == CacheMode::kAll)
      throw usage_error("--mode all: of tasks ppl and error; generation goes token by token");
    if (!asked.ppl)
      throw usage_error(fmt::format("--mode {}: task error knows streamed and all",
                                    model::cache_mode_name(mode)));
    throw usage_error(
        fmt::format("--mode {}: one pass over a whole window reads nothing quantised in this "
                    "mode; give --context N, the tokens that are read exactly before the rest "
                    "reads the cache",
                    model::cache_mode_name(mode)));
  }
  if (asked.context && !with_context)
    throw usage_error("--context: only modes prefill-exact and context-exact have one");
  if (asked.ppl && out.ppl.empty()) out.ppl.push_back(CacheMode::kStreamed);
  if (asked.error && out.error.empty()) out.error.push_back(CacheMode::kStreamed);
  if (asked.generated && out.generated.empty()) out.generated.push_back(CacheMode::kContextExact);
  return out;
}

}  // namespace kvx::eval
