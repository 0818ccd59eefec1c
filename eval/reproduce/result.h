// What a run folder says of a recipe: its tables with our numbers beside the paper's, its claims
// judged.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/report/page.h"
#include "eval/reproduce/judge.h"
#include "eval/reproduce/recipe.h"

namespace kvx::reproduce {

struct Measured {
  double value = 0;
  std::optional<double> delta;             // minus the base's; none for the base
  std::optional<eval::Interval> interval;  // of delta, 95 %, paired
};

struct ResultRow {
  RecipeRow row;
  std::string scheme;             // canonical descriptor
  double bits = 0;                // counted, per value, under the table's first metric
  std::array<double, 2> sides{};  // the same of K and of V
  std::vector<Measured> values;   // by metric of the table
};

struct ResultTable {
  RecipeTable table;
  std::vector<ResultRow> rows;
};

struct Result {
  Recipe recipe;
  RecipeProtocol protocol;                // as it was run
  uint64_t seed = 0;                      // of the bootstraps
  std::vector<report::Section> sections;  // one: the windows that count, for the report's pages
  std::vector<ResultTable> tables;
  std::vector<Judgement> judgements;

  int64_t count(Verdict verdict) const;
  const report::Section& section() const { return sections.front(); }
};

// Versioned descriptors by row id.
using Schemes = std::map<std::string, std::string>;

// Of the model of one run folder that holds every unit that `protocol` asks for; units beyond its
// windows are left out. Throws an environment Error naming a scheme without units.
Result evaluate(const Recipe& recipe, const RecipeProtocol& protocol, const Schemes& schemes,
                report::Model model);

}  // namespace kvx::reproduce
