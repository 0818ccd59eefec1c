// The judgement of one set of tensors against a golden case.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/golden.h"
#include "eval/number.h"

namespace kvx::eval {

enum class Match : uint8_t {
  kSame,
  kDifferent,  // in value, dtype or shape
  kMissing,    // not in what is judged
  kExtra       // not in the golden case
};

struct TensorVerdict {
  std::string tensor;
  Match match = Match::kSame;
  std::string detail;  // of kDifferent: place, expected and found value, how many differ
};

struct CaseVerdict {
  std::string name;    // of the case
  std::string judged;  // "this program", or a file
  std::vector<TensorVerdict> tensors;
  std::vector<std::string> repro;  // command lines that show a difference again

  size_t count(Match match) const;
};

// Tensors by name, nullptr where there is none.
using Finder = std::function<const ArtifactTensor*(const std::string& name)>;

// Judges every tensor of `expected` that `chosen` names (empty: all), and names those of `names`
// that the case does not have.
std::vector<TensorVerdict> judge(const TensorFile& expected, const Finder& found,
                                 const std::vector<std::string>& names,
                                 const std::vector<std::string>& chosen);

std::string verdict_text(const CaseVerdict& verdict);
Json verdict_json(const CaseVerdict& verdict);

}  // namespace kvx::eval
