#include "eval/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "eval/options.h"
#include "sim/api/error.h"

namespace kvx::eval {

using model::CacheMode;

std::vector<Descriptor> parse_schemes(const std::vector<std::string>& texts, const Note& note) {
  std::vector<Descriptor> schemes;
  for (const std::string& text : texts) {
    for (const std::string& one : expand_sweep(text)) {
      const Descriptor scheme = Descriptor::parse(one);
      if (std::find(schemes.begin(), schemes.end(), scheme) == schemes.end()) {
        schemes.push_back(scheme);
      } else {
        note(fmt::format("--scheme {}: {} is named twice and measured once", one, scheme.str()));
      }
    }
  }
  return schemes;
}

std::vector<CacheMode> parse_ppl_modes(const std::vector<std::string>& texts) {
  constexpr std::array<std::string_view, 4> kNames{"all", "streamed", "prefill-exact",
                                                   "context-exact"};
  std::vector<CacheMode> modes;
  for (const std::string& text : split_commas(texts)) {
    check_choice("--mode", text, kNames);
    if (text != "all" && text != "streamed")
      throw usage_error(
          fmt::format("--mode {}: perplexity takes one pass over the text, and in this mode that "
                      "pass reads nothing "
                      "quantised; use all or streamed",
                      text));
    const CacheMode mode = text == "all" ? CacheMode::kAll : CacheMode::kStreamed;
    if (std::find(modes.begin(), modes.end(), mode) == modes.end()) modes.push_back(mode);
  }
  return modes;
}

}  // namespace kvx::eval
