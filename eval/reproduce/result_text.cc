#include "eval/reproduce/result_text.h"

#include <fmt/core.h>

#include "eval/report/html.h"
#include "eval/template.h"

namespace kvx::reproduce {
namespace {

using eval::TemplateData;
using eval::TemplateObject;

std::string paper_line(const Recipe& recipe) {
  std::string line = recipe.citation;
  if (!recipe.arxiv.empty()) line += fmt::format(", arXiv {}", recipe.arxiv);
  if (!recipe.sections.empty()) line += fmt::format("; {}", recipe.sections);
  return line + ".";
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += ' ';
    for (const char c : cell) line += c == '|' ? std::string("\\|") : std::string(1, c);
    line += " |";
  }
  return line + "\n";
}

std::string markdown(const report::Grid& grid) {
  std::string text = markdown_line(grid.head) + "|";
  for (size_t i = 0; i < grid.head.size(); ++i) text += i < grid.left ? "---|" : "---:|";
  text += "\n";
  for (const std::vector<std::string>& row : grid.rows) text += markdown_line(row);
  return text;
}

}  // namespace

std::string result_text(const Result& result) {
  std::string text = result.recipe.title + "\n" + paper_line(result.recipe) + "\n";
  for (const ResultTable& table : result.tables)
    text += fmt::format("\n{}\n\n{}", table.table.title, grid_text(table_grid(table)));
  if (result.judgements.empty()) return text;
  return text + fmt::format("\n{}\n\n{}", verdicts_line(result),
                            grid_text(claims_grid(result.judgements)));
}

std::string result_markdown(const Result& result) {
  std::string text = fmt::format("# {}\n\n{}\n\n", result.recipe.title, paper_line(result.recipe));
  for (const std::string& line : protocol_lines(result)) text += fmt::format("* {}\n", line);
  if (!result.judgements.empty())
    text += fmt::format("\n## Claims\n\n{}.\n\n{}", verdicts_line(result),
                        markdown(claims_grid(result.judgements)));
  for (const ResultTable& table : result.tables) {
    text += fmt::format("\n## {}\n\n", table.table.title);
    if (!table.table.note.empty()) text += table.table.note + "\n\n";
    text += markdown(table_grid(table));
  }
  return text;
}

std::string result_page(const Result& result, const std::string& command) {
  std::map<std::string, std::string> links;
  for (const std::string& scheme : result.section().model.schemes) {
    const std::string label = report::label_of(result.section().model, scheme);
    links[label] = report::scheme_page_name(result.sections, 0, label);
  }
  TemplateData data;
  data["title"] = result.recipe.title;
  data["paper"] = paper_line(result.recipe);
  data["protocol"] = report::list_html(protocol_lines(result));
  data["has_claims"] = !result.judgements.empty();
  data["verdicts"] = verdicts_line(result);
  data["claims"] = report::grid_html(claims_grid(result.judgements));
  data["tables"] =
      eval::template_list(result.tables, [&](const ResultTable& table) -> TemplateData {
        return TemplateObject{{"title", table.table.title},
                              {"note", table.table.note},
                              {"table", report::grid_html(table_grid(table), links)}};
      });
  data["command"] = command;
  return report::page_html(result.recipe.title, eval::render("reproduce.html", data));
}

}  // namespace kvx::reproduce
