#include "eval/report/html.h"

namespace kvx::report {

using eval::TemplateData;
using eval::TemplateObject;

std::string grid_html(const Grid& grid, const std::map<std::string, std::string>& links) {
  const auto cells = [&](const std::vector<std::string>& row) {
    TemplateData list(TemplateData::type::list);
    for (size_t i = 0; i < row.size(); ++i) {
      const auto link = i == 1 ? links.find(row[i]) : links.end();
      TemplateData cell;
      cell["text"] = row[i];
      cell["left"] = i < grid.left;
      cell["link"] = link == links.end() ? TemplateData(false) : TemplateData(link->second);
      list.push_back(cell);
    }
    return list;
  };
  TemplateData data;
  data["head"] = cells(grid.head);
  data["rows"] =
      eval::template_list(grid.rows, [&](const std::vector<std::string>& row) -> TemplateData {
        return TemplateObject{{"cells", cells(row)}};
      });
  return eval::render("table.html", data);
}

std::string figure_html(const std::string& svg, const std::string& caption) {
  return eval::render("figure.html", TemplateObject{{"svg", svg}, {"caption", caption}});
}

std::string strip_html(const std::string& title, const ErrorLines& lines) {
  return eval::render("strip.html",
                      TemplateObject{{"title", title}, {"svg", strips_svg(title, lines)}});
}

std::string list_html(const std::vector<std::string>& lines) {
  TemplateData data;
  data["lines"] = eval::template_list(lines, [](const std::string& line) -> TemplateData {
    return TemplateObject{{"line", line}};
  });
  return lines.empty() ? "" : eval::render("list.html", data);
}

std::string page_html(const std::string& title, const std::string& content) {
  return eval::render("page.html", TemplateObject{{"title", title},
                                                  {"style", eval::render("style.css", {})},
                                                  {"content", content}});
}

std::string shell_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789-_./:=,+@%") == std::string::npos;
    if (plain) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace kvx::report
