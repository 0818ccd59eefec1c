#include "eval/reproduce/recipe.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "eval/files.h"
#include "eval/reproduce/recipe_fields.h"
#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::reproduce {
namespace {

using nlohmann::json;

constexpr size_t kMostCalibrations = 64, kMostTables = 64, kMostRows = 256, kMostClaims = 256,
                 kMostColumns = 16, kMostNotes = 64;
constexpr int64_t kMostTokens = int64_t{1} << 24, kMostWindows = int64_t{1} << 24;
// Stands for an artifact that is not made yet.
constexpr const char* kNoArtifact = "#0000000000000000";

// What the parts of a recipe may refer to.
struct Known {
  std::map<std::string, std::string> artifacts;  // calibrations' names
  std::set<std::string> rows{kBaseRow};
};

std::vector<std::string> names_of(const std::map<std::string, std::string>& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

RecipeProtocol read_protocol(const Fields& fields) {
  fields.only({"tasks", "modes", "length", "windows", "error_windows"});
  RecipeProtocol protocol;
  protocol.tasks = fields.choices("tasks", {"ppl", "error"});
  protocol.modes = fields.choices("modes", {"all", "streamed"});
  protocol.length = fields.integer("length", 2, kMostTokens);
  if (protocol.has("ppl")) protocol.windows = fields.integer("windows", 1, kMostWindows);
  if (protocol.has("error"))
    protocol.error_windows = fields.integer("error_windows", 1, kMostWindows);
  return protocol;
}

Metric read_metric(const Fields& fields, const std::string& field, const std::string& text,
                   const RecipeProtocol& protocol) {
  const size_t slash = text.find('/');
  const std::string_view name = std::string_view(text).substr(0, slash);
  Metric metric;
  std::vector<std::string> names;
  for (const MetricKind& kind : metric_kinds()) {
    if (!protocol.has(kind.task)) continue;
    for (const std::string& mode : protocol.modes)
      names.push_back(fmt::format("{}/{}", kind.name, mode));
    if (kind.name == name) metric.kind = &kind;
  }
  if (std::ranges::find(names, text) == names.end())
    throw fields.wrong(field, text, fmt::format("one of {}", fmt::join(names, ", ")));
  metric.mode = text.substr(slash + 1);
  return metric;
}

Calibration read_calibration(const Fields& fields) {
  fields.only({"name", "scheme", "samples", "length"});
  Calibration one{.name = fields.name("name"),
                  .scheme = fields.text("scheme"),
                  .samples = fields.integer("samples", 1, 1 << 20),
                  .length = fields.integer("length", 1, kMostTokens)};
  try {
    ref::make_calibrator(Descriptor::parse(one.scheme));
  } catch (const Error& error) {
    throw fields.because("scheme", one.scheme, error.what());
  }
  return one;
}

PaperColumn read_column(const Fields& fields) {
  fields.only({"id", "title", "reference"});
  return {fields.name("id"), fields.text("title"), fields.text("reference")};
}

// Numbers by column id, each alone or with a reference of its own.
std::map<std::string, PaperValue> read_paper(const Fields& fields,
                                             const std::vector<PaperColumn>& columns) {
  std::map<std::string, PaperValue> values;
  for (const auto& [id, value] : fields.object().items()) {
    const auto column = std::ranges::find(columns, id, &PaperColumn::id);
    if (column == columns.end()) throw fields.wrong("", id, "the id of a column of the table");
    if (value.is_object()) {
      const Fields one = fields.object(id);
      one.only({"value", "reference"});
      values[id] = {one.number("value"), one.text("reference")};
    } else {
      values[id] = {fields.number(id), column->reference};
    }
  }
  return values;
}

RecipeRow read_row(const Fields& fields, const std::vector<PaperColumn>& columns, Known& known) {
  fields.only({"id", "label", "scheme", "bits", "paper"});
  RecipeRow row;
  row.id = fields.text("id");
  row.label = fields.text("label", row.id);
  row.scheme = fields.text("scheme");
  row.bits = fields.text("bits", "");
  if (fields.find("paper") != nullptr) row.paper = read_paper(fields.object("paper"), columns);
  if (!known.rows.insert(row.id).second)
    throw fields.wrong("id", row.id, "an id that no other row has");
  std::string scheme;
  try {
    scheme = with_artifacts(row.scheme, known.artifacts);
  } catch (const std::out_of_range&) {
    throw fields.wrong("scheme", row.scheme,
                       fmt::format("with artifacts of {{{}}}, the calibrations",
                                   fmt::join(names_of(known.artifacts), ", ")));
  }
  try {
    Descriptor::parse(scheme);
  } catch (const Error& error) {
    throw fields.because("scheme", row.scheme, error.what());
  }
  return row;
}

RecipeTable read_table(const Fields& fields, const RecipeProtocol& protocol, Known& known) {
  fields.only({"title", "note", "columns", "metrics", "rows"});
  RecipeTable table;
  table.title = fields.text("title");
  table.note = fields.text("note", "");
  for (const Fields& one : fields.objects("columns", 0, kMostColumns)) {
    table.columns.push_back(read_column(one));
    const std::string& id = table.columns.back().id;
    if (std::ranges::count(table.columns, id, &PaperColumn::id) > 1)
      throw one.wrong("id", id, "an id that no other column has");
  }
  for (const std::string& text : fields.texts("metrics", 1, kMostColumns))
    table.metrics.push_back(read_metric(fields, "metrics", text, protocol));
  for (const Fields& one : fields.objects("rows", 1, kMostRows))
    table.rows.push_back(read_row(one, table.columns, known));
  return table;
}

Claim read_claim(const Fields& fields, const RecipeProtocol& protocol, const Known& known) {
  Claim claim;
  claim.text = fields.text("text");
  claim.reference = fields.text("reference");
  claim.metric = read_metric(fields, "metric", fields.text("metric"), protocol);
  const auto row = [&](const std::string& field, const std::string& id) {
    if (!known.rows.contains(id)) throw fields.wrong(field, id, "the id of a row");
    claim.rows.push_back(id);
  };
  const std::string kind = fields.choice("claim", {"ordering", "bound", "ladder"});
  if (kind == "ordering") {
    fields.only({"claim", "text", "reference", "metric", "better", "worse"});
    row("better", fields.text("better"));
    row("worse", fields.text("worse"));
  } else if (kind == "bound") {
    claim.kind = ClaimKind::kBound;
    fields.only({"claim", "text", "reference", "metric", "row", "base", "absolute", "relative"});
    row("row", fields.text("row"));
    row("base", fields.text("base", kBaseRow));
    claim.relative = fields.find("relative") != nullptr;
    if (claim.relative && fields.find("absolute") != nullptr)
      throw fields.wrong("relative", "absent beside 'absolute'");
    if (claim.relative && claim.rows[1] == kBaseRow && !claim.metric.kind->exponential)
      throw fields.wrong("relative",
                         fmt::format("possible: {} of {} is 0", claim.metric.kind->name, kBaseRow));
    claim.margin = fields.number(claim.relative ? "relative" : "absolute");
    if (claim.margin < 0)
      throw fields.wrong(claim.relative ? "relative" : "absolute", fmt::format("{}", claim.margin),
                         "0 or more");
  } else {
    claim.kind = ClaimKind::kLadder;
    fields.only({"claim", "text", "reference", "metric", "rows"});
    for (const std::string& id : fields.texts("rows", 2, kMostRows)) row("rows", id);
  }
  for (size_t i = 0; i < claim.rows.size(); ++i)
    if (std::find(claim.rows.begin(), claim.rows.begin() + static_cast<std::ptrdiff_t>(i),
                  claim.rows[i]) != claim.rows.begin() + static_cast<std::ptrdiff_t>(i))
      throw fields.wrong("claim", kind,
                         fmt::format("of different rows: '{}' is there twice", claim.rows[i]));
  return claim;
}

}  // namespace

bool RecipeProtocol::has(std::string_view task) const {
  return std::ranges::find(tasks, task) != tasks.end();
}

bool Recipe::uses(const Calibration& calibration) const {
  std::map<std::string, std::string> others;
  for (const Calibration& one : calibrations)
    if (one.name != calibration.name) others[one.name] = kNoArtifact;
  for (const RecipeTable& table : tables)
    for (const RecipeRow& row : table.rows) try {
        with_artifacts(row.scheme, others);
      } catch (const std::out_of_range&) {
        return true;
      }
  return false;
}

Recipe parse_recipe(std::string_view text, const std::string& source) {
  const json document = model::parse_json(text, source);
  const Fields fields(document, source, "");
  fields.only({"schema", "name", "title", "paper", "notes", "protocol", "calibrations", "tables",
               "claims"});
  fields.choice("schema", {kRecipeSchema});
  Recipe recipe;
  recipe.source = source;
  recipe.sha256 = eval::sha256_hex(text);
  recipe.name = fields.name("name");
  recipe.title = fields.text("title");
  const Fields paper = fields.object("paper");
  paper.only({"citation", "arxiv", "sections"});
  recipe.citation = paper.text("citation");
  recipe.arxiv = paper.text("arxiv", "");
  recipe.sections = paper.text("sections", "");
  if (fields.find("notes") != nullptr) recipe.notes = fields.texts("notes", 0, kMostNotes);
  recipe.protocol = read_protocol(fields.object("protocol"));
  Known known;
  for (const Fields& one : fields.objects("calibrations", 0, kMostCalibrations)) {
    recipe.calibrations.push_back(read_calibration(one));
    if (!known.artifacts.emplace(recipe.calibrations.back().name, kNoArtifact).second)
      throw one.wrong("name", recipe.calibrations.back().name, "a name that no other has");
  }
  for (const Fields& one : fields.objects("tables", 1, kMostTables))
    recipe.tables.push_back(read_table(one, recipe.protocol, known));
  for (const Fields& one : fields.objects("claims", 0, kMostClaims))
    recipe.claims.push_back(read_claim(one, recipe.protocol, known));
  return recipe;
}

std::string with_artifacts(const std::string& scheme,
                           const std::map<std::string, std::string>& artifacts) {
  std::string text;
  size_t at = 0;
  for (size_t mark; (mark = scheme.find("=@", at)) != std::string::npos;) {
    const size_t end = std::min(scheme.find_first_of(",)", mark), scheme.size());
    text +=
        scheme.substr(at, mark + 1 - at) + artifacts.at(scheme.substr(mark + 2, end - mark - 2));
    at = end;
  }
  return text + scheme.substr(at);
}

}  // namespace kvx::reproduce
