#include "eval/report/task_text.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/text_table.h"

namespace kvx::report {
namespace {

std::string field_text(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return eval::thousands(value.get<int64_t>());
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const Task& task_of(const Model& model, const Table& table) {
  return *std::find_if(model.tasks.begin(), model.tasks.end(), [&](const Task& task) {
    return task.name == table.task && task.identity == table.identity;
  });
}

std::string cell_text(const Cell& cell) {
  std::string text;
  for (const auto& [key, value] : cell.place)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, value);
  return text.empty() ? "the whole task" : text;
}

}  // namespace

std::string task_title(const Table& table) {
  const std::string name = table.task == "ppl"     ? "Perplexity"
                           : table.task == "error" ? "Error by layer"
                                                   : fmt::format("Task {}", table.task);
  return name + table.suffix;
}

std::string protocol_text(const Model& model, const Table& table) {
  std::string text = fmt::format("{} {}", eval::thousands(table.units),
                                 table.kind == Kind::kSamples ? "samples"
                                 : table.units == 1           ? "window"
                                                              : "windows");
  for (const auto& [name, value] : task_of(model, table).identity.items())
    if (name != "task" && !name.ends_with("sha256") && !value.is_null() && !value.is_structured())
      text += fmt::format("; {} {}", name, field_text(value));
  return text + ".";
}

std::vector<std::string> table_notes(const Table& table) {
  std::vector<std::string> notes;
  if (table.base() == nullptr)
    notes.push_back("fp:f32 has no unit in this mode: there is no base to compare with.");
  std::vector<std::string> failed;
  for (const Cell& cell : table.cells)
    if (!cell.kept) failed.push_back(fmt::format("{} ({:.2f})", cell_text(cell), cell.base));
  if (!failed.empty()) {
    std::string list;
    for (const std::string& cell : failed) list += (list.empty() ? "" : "; ") + cell;
    notes.push_back(fmt::format(
        "{} of {} cells do not count, as the unquantised model (fp:f32, same mode) scores below "
        "{:g} there: {}.{}",
        failed.size(), table.cells.size(), kCeiling, list,
        table.kept() ? ""
                     : " The numbers below are of all cells, in brackets in the table of "
                       "everything, and in no average."));
  }
  const auto partial = std::count_if(table.rows.begin(), table.rows.end(),
                                     [](const Row& row) { return !row.whole; });
  if (partial > 0)
    notes.push_back(
        fmt::format("Without all units: {} of {} schemes. They are in the table with what they "
                    "have, compared with "
                    "the base on the same units, and in no plot.",
                    partial, table.rows.size()));
  return notes;
}

std::string accuracy_caption(const Table& table) {
  const std::string line =
      " Line: the best at their size. Bits are counted from the cache: scales, "
      "zero points and exact windows included.";
  if (table.kind == Kind::kWindows)
    return "Lower is better. Bars: 95 % paired bootstrap over windows. Triangles: beyond the "
           "scale." +
           line;
  if (table.kind == Kind::kErrors)
    return "Lower is better. Relative error of the attention output, one layer quantised at a "
           "time, mean over layers." +
           line;
  return "Higher is better. Bars: 95 %, Wilson's interval of scores that are 0 or 1, else "
         "bootstrap over samples." +
         line;
}

std::string divergence_caption() {
  return "Lower is better; logarithmic. Bars: 95 % bootstrap over windows. Line: the best at their "
         "size.";
}

std::string map_caption() {
  return "Per cent of what was asked for that was found, by length of the prompt and depth of the "
         "needle. The darker, the less; struck out: fp:f32 fails there and the cell does not "
         "count.";
}

std::string model_shape(const Model& model) {
  std::string text;
  for (const auto& [name, value] : model.header.at("model").items())
    if (name != "path" && !value.is_structured())
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, field_text(value));
  return text;
}

}  // namespace kvx::report
