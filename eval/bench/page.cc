#include "eval/bench/page.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "eval/bench/roofline.h"
#include "eval/bench/table.h"
#include "eval/files.h"
#include "eval/plot_svg.h"
#include "eval/report/html.h"

namespace kvx::bench {
namespace {

namespace fs = std::filesystem;
using eval::TemplateData;
using eval::TemplateObject;

constexpr eval::Box kFigureArea{62, 24, 470, 320};
constexpr double kFigureWidth = 544, kFigureHeight = 384;

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : eval::json_text(value, -1);
}

TemplateData run_data(const Session& session) {
  TemplateData data, fields(TemplateData::type::list);
  std::vector<std::string> words;
  if (session.made.is_object())
    for (const auto& [name, value] : session.made.items()) {
      if (name == "command" && value.is_array()) {
        for (const Json& word : value) words.push_back(text_of(word));
      } else {
        fields.push_back(TemplateObject{{"name", name}, {"value", text_of(value)}});
      }
    }
  data["source"] = session.source;
  data["device"] = session.device;
  data["command"] = report::shell_line(words);
  data["fields"] = std::move(fields);
  return data;
}

std::string plots_html(const Document& document) {
  std::string figures;
  for (const BenchOp op : bounded_ops(document)) {
    const std::string svg = eval::render(
        "figure.svg", TemplateObject{{"width", eval::coordinate(kFigureWidth)},
                                     {"height", eval::coordinate(kFigureHeight)},
                                     {"description", op_title(op)},
                                     {"content", roofline_plot(document, op, kFigureArea)}});
    figures += report::figure_html(
        svg,
        "Bars: p10 to p90. Line: the time that the measured read bandwidth allows. Numbers: "
        "rows of the table.");
  }
  return eval::render("plots.html", TemplateObject{{"figures", figures}});
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", folder, error.message()));
}

void write_views(const std::string& folder, const Document& document) {
  eval::write_file(folder + "/table.csv", document_csv(document));
  eval::write_file(folder + "/plot.svg", roofline_picture(document));
}

}  // namespace

bool is_bench_run(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path + "/" + kBenchFile, ignored);
}

Document read_documents(const std::vector<std::string>& paths) {
  Document all;
  for (const std::string& path : paths) merge(all, read_document(path));
  return all;
}

std::string bench_page(const Document& document, const std::string& command) {
  const std::string title = "KV-cache kernels: bytes against time";
  int64_t samples = 0;
  for (const Record& record : document.records)
    samples = samples == 0 ? record.seconds.samples : std::min(samples, record.seconds.samples);
  TemplateData data;
  data["title"] = title;
  data["samples"] = fmt::format("{}", samples);
  data["sessions"] = report::list_html(session_lines(document));
  data["plots"] = plots_html(document);
  data["tables"] = eval::template_list(ops_of(document), [&](BenchOp op) -> TemplateData {
    return TemplateObject{{"title", op_title(op)},
                          {"what", op_text(op)},
                          {"table", report::grid_html(op_grid(document, op))}};
  });
  const std::vector<std::string> notes = note_lines(document);
  data["has_notes"] = !notes.empty();
  data["notes"] = report::list_html(notes);
  data["runs"] = eval::template_list(document.sessions, run_data);
  data["command"] = command;
  return report::page_html(title, eval::render("bench.html", data));
}

void write_bench_report(const std::string& folder, const Document& document,
                        const std::string& command) {
  make_folder(folder);
  eval::write_file(folder + "/index.html", bench_page(document, command));
  write_views(folder, document);
}

void write_bench_run(const std::string& folder, const Document& document) {
  make_folder(folder);
  eval::write_file(folder + "/" + kBenchFile, eval::json_text(document_json(document), 1) + "\n");
  write_views(folder, document);
}

}  // namespace kvx::bench
