#include "eval/verdict.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eval/tensor_diff.h"

namespace kvx::eval {
namespace {

const char* match_name(Match match) {
  constexpr const char* kNames[] = {"same", "different", "missing", "extra"};
  return kNames[static_cast<size_t>(match)];
}

bool is_chosen(const std::vector<std::string>& chosen, const std::string& name) {
  return chosen.empty() || std::find(chosen.begin(), chosen.end(), name) != chosen.end();
}

TensorVerdict compare(const std::string& name, const ArtifactTensor& expected,
                      const ArtifactTensor& found) {
  if (expected.dtype != found.dtype || expected.shape != found.shape)
    return {name, Match::kDifferent,
            fmt::format("expected {}, found {}", type_text(expected.dtype, expected.shape),
                        type_text(found.dtype, found.shape))};
  const auto difference = first_difference(expected, found);
  if (!difference) return {name, Match::kSame, {}};
  return {name, Match::kDifferent,
          fmt::format("[{}]: expected {}, found {}; {} of its values differ",
                      fmt::join(difference->index, ", "), difference->expected, difference->found,
                      difference->count)};
}

}  // namespace

size_t CaseVerdict::count(Match match) const {
  return static_cast<size_t>(
      std::count_if(tensors.begin(), tensors.end(),
                    [match](const TensorVerdict& verdict) { return verdict.match == match; }));
}

std::vector<TensorVerdict> judge(const TensorFile& expected, const Finder& found,
                                 const std::vector<std::string>& names,
                                 const std::vector<std::string>& chosen) {
  std::vector<TensorVerdict> verdicts;
  for (const auto& [name, tensor] : expected.tensors()) {
    if (!is_chosen(chosen, name)) continue;
    const ArtifactTensor* theirs = found(name);
    verdicts.push_back(theirs == nullptr ? TensorVerdict{name, Match::kMissing, {}}
                                         : compare(name, tensor, *theirs));
  }
  for (const std::string& name : names)
    if (expected.find(name) == nullptr) verdicts.push_back({name, Match::kExtra, {}});
  return verdicts;
}

std::string verdict_text(const CaseVerdict& verdict) {
  const size_t different = verdict.count(Match::kDifferent);
  std::string text = fmt::format(
      "{}  {}  {} of {} tensors are the same\n", different > 0 ? "DIFFERENT" : "same     ",
      verdict.name, verdict.count(Match::kSame), verdict.count(Match::kSame) + different);
  for (const TensorVerdict& tensor : verdict.tensors)
    if (tensor.match != Match::kSame)
      text += fmt::format("    {} {} {}\n", match_name(tensor.match), tensor.tensor, tensor.detail);
  for (const std::string& line : verdict.repro) text += fmt::format("    $ {}\n", line);
  return text;
}

Json verdict_json(const CaseVerdict& verdict) {
  Json json{{"case", verdict.name}, {"judged", verdict.judged}, {"tensors", Json::array()}};
  for (const TensorVerdict& tensor : verdict.tensors) {
    json["tensors"].push_back({{"name", tensor.tensor}, {"match", match_name(tensor.match)}});
    if (!tensor.detail.empty()) json["tensors"].back()["detail"] = tensor.detail;
  }
  json["repro"] = verdict.repro;
  return json;
}

}  // namespace kvx::eval
