// A paper's tables and claims as data: what is measured, the paper's numbers, and what they are
// said to show. reports/schema/recipe.md has the fields.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/reproduce/metric.h"

namespace kvx::reproduce {

inline constexpr const char* kRecipeSchema = "kvx-recipe/1";

// What claims and runs call the unquantised base, which is always measured.
inline constexpr const char* kBaseRow = "fp:f32";

// An artifact that rows name as "=@NAME".
struct Calibration {
  std::string name;
  std::string scheme;  // descriptor without the artifact
  int64_t samples = 0;
  int64_t length = 0;  // tokens of a sample
};

struct PaperValue {
  double value = 0;
  std::string reference;  // "Table 18"
};

struct PaperColumn {
  std::string id, title, reference;
};

struct RecipeRow {
  std::string id;  // unique in the recipe
  std::string label;
  std::string scheme;  // descriptor; an artifact may be "@NAME" of a calibration
  std::string bits;    // the paper's bits per value, as it prints them; may be empty
  std::map<std::string, PaperValue> paper;  // by column id
};

struct RecipeTable {
  std::string title, note;
  std::vector<PaperColumn> columns;
  std::vector<Metric> metrics;  // that are shown
  std::vector<RecipeRow> rows;
};

// In words, with `rows` as the recipe names them:
//   ordering: rows[0] has a smaller metric than rows[1]
//   bound:    the metric of rows[0] is at most `margin` above that of rows[1], or above it by at
//             most that share of it
//   ladder:   no row's metric is above that of the row before
enum class ClaimKind : uint8_t { kOrdering, kBound, kLadder };

struct Claim {
  ClaimKind kind = ClaimKind::kOrdering;
  std::string text, reference;
  Metric metric;
  std::vector<std::string> rows;  // ids; kBaseRow for the base
  double margin = 0;
  bool relative = false;
};

struct RecipeProtocol {
  std::vector<std::string> tasks;  // ppl, error
  std::vector<std::string> modes;
  int64_t length = 0;         // tokens of a window
  int64_t windows = 0;        // of task ppl
  int64_t error_windows = 0;  // of task error

  bool has(std::string_view task) const;
};

struct Recipe {
  std::string source;  // path, or the shipped recipe's name
  std::string sha256;  // of its text
  std::string name, title;
  std::string citation, arxiv, sections;  // of the paper
  std::vector<std::string> notes;
  RecipeProtocol protocol;
  std::vector<Calibration> calibrations;
  std::vector<RecipeTable> tables;
  std::vector<Claim> claims;

  // Whether a row names it.
  bool uses(const Calibration& calibration) const;
};

// Throws an environment Error of one line naming source, field and value: bad JSON, fields that are
// missing, unknown or of the wrong type, descriptors that do not parse, names of rows, columns,
// metrics or calibrations that are not there.
Recipe parse_recipe(std::string_view text, const std::string& source);

// The text with every "=@NAME" replaced by "=" and the artifact that `artifacts` has for it.
// Throws std::out_of_range for a name that it has not.
std::string with_artifacts(const std::string& scheme,
                           const std::map<std::string, std::string>& artifacts);

}  // namespace kvx::reproduce
