#include "eval/report/page.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <span>

#include "eval/report/html.h"
#include "eval/report/made.h"
#include "eval/report/scheme_page.h"
#include "eval/report/task_text.h"

namespace kvx::report {
namespace {

using eval::TemplateData;
using eval::TemplateObject;
using Links = std::map<std::string, std::string>;  // labels to pages

std::string numbers_key(const Numbers& numbers) {
  std::vector<std::pair<size_t, std::string>> ordered;
  for (const auto& [label, number] : numbers) ordered.emplace_back(number, label);
  std::sort(ordered.begin(), ordered.end());
  TemplateData data;
  data["schemes"] = eval::template_list(ordered, [](const auto& one) -> TemplateData {
    return TemplateObject{{"number", fmt::format("{}", one.first)}, {"label", one.second}};
  });
  return eval::render("key.html", data);
}

// Perplexity and divergence, or score, or error against bits, of all modes.
std::string plots_html(const Section& section, std::span<const Table> tables) {
  std::string figures;
  for (const Table& table : tables) {
    figures += figure_html(accuracy_svg(table, section.numbers), accuracy_caption(table));
    if (table.kind == Kind::kWindows)
      figures += figure_html(divergence_svg(table, section.numbers), divergence_caption());
  }
  return eval::render("plots.html", TemplateObject{{"figures", figures}}) +
         (section.numbers.size() > kMostNames ? numbers_key(section.numbers) : "");
}

std::string maps_html(const Table& table) {
  std::map<std::string, std::string> by_kind;
  std::vector<std::string> kinds;
  for (const Row& row : table.rows)
    for (const NamedMap& one : cell_maps(table, row)) {
      if (!by_kind.contains(one.name)) kinds.push_back(one.name);
      by_kind[one.name] += figure_html(heat_svg(one.map), row.label);
    }
  std::string html;
  for (const std::string& kind : kinds)
    html += eval::render("maps.html",
                         TemplateObject{{"title", fmt::format("{}: {}", title_of(table), kind)},
                                        {"maps", by_kind[kind]}});
  return html.empty() ? html
                      : html + eval::render("text.html", TemplateObject{{"text", map_caption()}});
}

std::string strips_html(const Table& table) {
  static constexpr const char* kTitles[] = {"K", "V", "Attention weights", "Attention output"};
  std::string strips;
  for (size_t i = 0; i < kErrorNames.size(); ++i) {
    ErrorLines lines;
    for (const Row& row : table.rows)
      if (!row.base) lines.emplace_back(row.label, layer_errors(row, i));
    if (!lines.empty()) strips += strip_html(kTitles[i], lines);
  }
  return eval::render("strips.html", TemplateObject{{"strips", strips}});
}

std::string mode_html(const Section& section, const Table& table, const Links& links) {
  TemplateData data;
  data["mode"] = table.mode;
  data["notes"] = list_html(table_notes(table));
  data["table"] = grid_html(details(table, section.numbers), links);
  data["maps"] = maps_html(table);
  data["strips"] = table.kind == Kind::kErrors ? strips_html(table) : "";
  return eval::render("mode.html", data);
}

// A task in all its modes.
std::string task_html(const Section& section, std::span<const Table> tables,
                      const std::string& anchor, const Links& links) {
  TemplateData data;
  data["anchor"] = anchor;
  data["title"] = task_title(tables.front());
  data["protocol"] = protocol_text(section.model, tables.front());
  data["plots"] = plots_html(section, tables);
  std::string modes;
  for (const Table& table : tables) modes += mode_html(section, table, links);
  data["modes"] = modes;
  return eval::render("task.html", data);
}

// Modes that calls asked for of a task, by run.json.
std::vector<std::string> modes_without_units(const Model& model, const Task& task) {
  std::vector<std::string> modes;
  for (const auto& run : model.runs) {
    const Json* asked_for = asked(*run, task.name, "modes");
    const auto of_run = run->tasks.find(task.name);
    if (asked_for == nullptr || of_run == run->tasks.end() || of_run->second != task.identity)
      continue;
    for (const Json& mode : *asked_for)
      if (mode.is_string() && !task.modes.empty() && !task.modes.contains(mode))
        modes.push_back(mode);
  }
  return modes;
}

std::vector<std::string> holes_of(const Section& section) {
  std::vector<std::string> holes;
  for (const Table& table : section.tables) {
    for (const std::string& hole : table.holes)
      holes.push_back(fmt::format("{}: {}", title_of(table), hole));
    if (table.missing.empty()) continue;
    std::string names;
    for (const std::string& label : table.missing) names += (names.empty() ? "" : ", ") + label;
    holes.push_back(fmt::format("{}: no units of {}", title_of(table), names));
  }
  for (const Task& task : section.model.tasks) {
    if (task.modes.empty()) holes.push_back(fmt::format("{}: no units at all", task.name));
    for (const std::string& mode : modes_without_units(section.model, task))
      holes.push_back(fmt::format("{}, {}: no units at all", task.name, mode));
  }
  for (const auto& run : section.model.runs)
    holes.insert(holes.end(), run->notes.begin(), run->notes.end());
  return holes;
}

std::string section_html(const std::vector<Section>& sections, size_t index) {
  const Section& section = sections[index];
  Links links;
  for (const std::string& scheme : section.model.schemes) {
    const std::string label = label_of(section.model, scheme);
    links[label] = scheme_page_name(sections, index, label);
  }
  TemplateData data;
  data["anchor"] = fmt::format("m{}", index + 1);
  data["name"] = model_name(section.model);
  data["shape"] = model_shape(section.model);
  data["overview"] = grid_html(overview(section.model, section.tables, section.numbers), links);
  const std::vector<std::string> holes = holes_of(section);
  data["has_holes"] = !holes.empty();
  data["holes"] = list_html(holes);
  data["good"] = section.evidence.good();
  data["evidence"] = list_html(evidence_text(section.evidence));
  data["made"] = made_html(section.model);
  std::string tasks;
  TemplateData contents(TemplateData::type::list);
  const std::span<const Table> tables = section.tables;
  for (size_t first = 0, last = 0; first < tables.size(); first = last) {
    while (last < tables.size() && tables[last].identity == tables[first].identity &&
           tables[last].task == tables[first].task)
      ++last;
    const std::string anchor = fmt::format("m{}-t{}", index + 1, first + 1);
    tasks += task_html(section, tables.subspan(first, last - first), anchor, links);
    contents.push_back(TemplateObject{{"link", anchor}, {"text", task_title(tables[first])}});
  }
  data["tasks"] = tasks;
  data["contents"] = std::move(contents);
  return eval::render("model.html", data);
}

}  // namespace

Section make_section(Model model) {
  Section section;
  section.tables = score_all(model);
  section.evidence = evidence_of(model);
  for (const std::string& scheme : model.schemes)
    if (!is_base(scheme))
      section.numbers.emplace(label_of(model, scheme), section.numbers.size() + 1);
  section.model = std::move(model);
  return section;
}

std::string table_text(const Section& section, const Table& table) {
  return fmt::format("{}\n\n{}", title_of(table), grid_text(details(table, section.numbers)));
}

std::string scheme_page_name(const std::vector<Section>& sections, size_t section,
                             const std::string& label) {
  std::string name = section == 0 ? "scheme-" : fmt::format("scheme-m{}-", section + 1);
  for (const char c : label)
    name += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ? c : '-';
  // Labels that differ in other characters alone would share a page.
  const auto slug = [](std::string text) {
    for (char& c : text)
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) c = '-';
    return text;
  };
  int64_t same = 0;
  for (const std::string& scheme : sections[section].model.schemes) {
    const std::string other = label_of(sections[section].model, scheme);
    if (other == label) break;
    same += slug(other) == slug(label) ? 1 : 0;
  }
  return name + (same > 0 ? fmt::format("-{}", same + 1) : "") + ".html";
}

Files report_pages(const std::vector<Section>& sections, const std::string& command) {
  std::string models, names;
  for (size_t i = 0; i < sections.size(); ++i) {
    models += section_html(sections, i);
    names += (i > 0 ? ", " : "") + model_name(sections[i].model);
  }
  const std::string title = "KV-cache schemes: accuracy against bits";
  Files files{
      {"index.html", page_html(title + ": " + names,
                               eval::render("index.html", TemplateObject{{"title", title},
                                                                         {"models", models},
                                                                         {"command", command}}))}};
  for (size_t i = 0; i < sections.size(); ++i)
    for (const std::string& scheme : sections[i].model.schemes)
      files.emplace_back(scheme_page_name(sections, i, label_of(sections[i].model, scheme)),
                         scheme_page(sections[i], scheme));
  return files;
}

}  // namespace kvx::report
