#include "eval/report/scheme_page.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/artifacts.h"
#include "eval/explain.h"
#include "eval/report/html.h"
#include "eval/report/task_text.h"
#include "sim/api/error.h"

namespace kvx::report {
namespace {

using eval::TemplateObject;

constexpr int64_t kUsualLength = 2048;
constexpr int64_t kMostOfShape = 65536;

int64_t shape_of(const Model& model, const char* name) {
  const Json& shape = model.header.at("model");
  const bool there = shape.contains(name) && shape.at(name).is_number_integer();
  const int64_t value = there ? shape.at(name).get<int64_t>() : 0;
  if (value < 1 || value > kMostOfShape)
    throw environment_error(fmt::format("run.json: model has no {}", name));
  return value;
}

// Tokens of a window of task ppl, else a usual number of them.
int64_t length_of(const Model& model) {
  for (const Task& task : model.tasks)
    if (task.identity.contains("length") && task.identity.at("length").is_number_integer())
      return std::max<int64_t>(1, task.identity.at("length").get<int64_t>());
  return kUsualLength;
}

// What `kvx explain` says of it, with and without exact windows as the modes ask for; a sentence
// where this program cannot say.
std::string layout_of(const Section& section, const std::string& scheme) {
  try {
    const Model& model = section.model;
    std::vector<std::string> folders;
    for (const auto& run : model.runs) folders.push_back(run->path + "/artifacts");
    eval::ArtifactStore store(folders);
    const Descriptor descriptor = store.parse(eval::scheme_label(scheme));
    if (descriptor.versioned() != scheme)
      return fmt::format("This program has {}, not {}: its layout is not shown.\n",
                         descriptor.versioned(), scheme);
    const int64_t heads = shape_of(model, "kv_heads");
    const int64_t length = std::min(length_of(model), eval::kMaxLayoutRows / heads);
    const bool all = std::any_of(section.tables.begin(), section.tables.end(),
                                 [](const Table& table) { return table.mode == "all"; });
    const bool others = std::any_of(section.tables.begin(), section.tables.end(),
                                    [](const Table& table) { return table.mode != "all"; });
    std::string text;
    for (const Windows windows : {Windows::kKept, Windows::kNone}) {
      if (windows == Windows::kNone ? !all : !others) continue;
      const CacheConfig config{
          .shape = {0, static_cast<int>(heads), static_cast<int>(shape_of(model, "head_dim"))},
          .windows = windows};
      if (!text.empty()) text += "\n\n";
      text += eval::explain_text(
          eval::explain(descriptor, store.factory(descriptor), config, length), false);
    }
    return text;
  } catch (const Error& error) {
    return fmt::format("Its layout is not shown: {}\n", error.what());
  }
}

// The scheme's own row of a table, and the base's.
std::string results_html(const Section& section, const Table& table, const Row& row) {
  Table mine = table;
  mine.rows.clear();
  if (table.base() != nullptr && !row.base) mine.rows.push_back(*table.base());
  mine.rows.push_back(row);
  std::string pictures;
  for (const NamedMap& one : cell_maps(table, row))
    pictures += figure_html(heat_svg(one.map), one.name);
  if (!pictures.empty())
    pictures =
        eval::render("maps.html", TemplateObject{{"title", "Cells, %"}, {"maps", pictures}}) +
        eval::render("text.html", TemplateObject{{"text", map_caption()}});
  if (!row.layers.empty() && !row.base) {
    ErrorLines lines;
    for (size_t i = 0; i < kErrorNames.size(); ++i)
      lines.emplace_back(kErrorNames[i], layer_errors(row, i));
    pictures += strip_html("Relative error by layer, %", lines);
  }
  return eval::render(
      "result.html",
      TemplateObject{{"title", fmt::format("{}, cache mode {}", task_title(table), table.mode)},
                     {"table", grid_html(details(mine, section.numbers))},
                     {"bytes", grid_html(bytes_by_item(row))},
                     {"pictures", pictures}});
}

}  // namespace

std::string scheme_page(const Section& section, const std::string& scheme) {
  const std::string label = label_of(section.model, scheme);
  std::string results;
  for (const Table& table : section.tables)
    for (const Row& row : table.rows)
      if (row.scheme == scheme) results += results_html(section, table, row);
  const std::string model = model_name(section.model);
  return page_html(
      fmt::format("{} on {}", label, model),
      eval::render("scheme.html", TemplateObject{{"label", label},
                                                 {"scheme", scheme},
                                                 {"model", model},
                                                 {"layout", layout_of(section, scheme)},
                                                 {"results", results}}));
}

}  // namespace kvx::report
