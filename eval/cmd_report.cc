#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "eval/bench/baseline.h"
#include "eval/bench/page.h"
#include "eval/bench/table.h"
#include "eval/cli.h"
#include "eval/files.h"
#include "eval/options.h"
#include "eval/report/compare.h"
#include "eval/report/html.h"
#include "eval/report/page.h"
#include "eval/report/write.h"
#include "eval/streams.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr size_t kMostRuns = 1000;

constexpr const char* kHelp =
    R"(usage: kvx report RUN... [--out FOLDER] [--baseline RUN [--junit FILE]]

Run folders as one page: accuracy against counted bits, needle heat maps, errors by layer, a table of
everything, what backends agreed on, how it was made. Several folders are merged: runs of one model
are one section. --out writes index.html, a page for each scheme and table.csv; without scripts and
outer resources, they open from disk. The tables go to standard output.

--baseline names every significant change of a task, mode and scheme that both measured; the exit
code is 1 where one is for the worse, or where nothing is in common. Values are compared bit for bit
first; then perplexities by paired bootstrap over windows, scores by McNemar's exact test, bits
exactly, speeds beyond 10 %, which count on the same machine alone.

Exit code 1, too, where two of the folders hold different values of one unit.

Folders of kvx bench are a report of their own: bytes against time, and with --baseline every kernel
that has become slower.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("out", text(), "folder of the page; made where it is not there");
  add("baseline", text(), "run folder to compare with");
  add("junit", text(), "file for the comparison as JUnit");
  add("quiet", po::bool_switch(), "no notes");
  add("help", po::bool_switch(), "this text");
  return options;
}

std::vector<report::Model> load(const std::vector<std::string>& paths, bool quiet) {
  std::vector<report::Run> runs;
  for (const std::string& path : paths) {
    runs.push_back(report::load_run(path));
    for (const std::string& note : runs.back().notes)
      if (!quiet) tell(fmt::format("kvx: {}\n", note));
  }
  return report::merge(std::move(runs));
}

void check_no_run(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder + "/run.json", error) || bench::is_bench_run(folder))
    throw usage_error(fmt::format("--out {}: is a run folder; use another", folder));
}

// The command line that makes the report.
std::string command_line(const std::vector<std::string>& words) {
  std::vector<std::string> command{"kvx", "report"};
  command.insert(command.end(), words.begin(), words.end());
  return report::shell_line(command);
}

// Runs of `kvx bench`.
int report_bench(const Options& options, const std::vector<std::string>& paths,
                 const std::vector<std::string>& words) {
  for (const std::string& path : paths)
    if (!bench::is_bench_run(path))
      throw usage_error(
          fmt::format("{}: no run of kvx bench, as others are; report it apart", path));
  if (options.has("junit")) throw usage_error("--junit: not of runs of kvx bench");
  const bench::Document document = bench::read_documents(paths);
  if (document.records.empty())
    throw environment_error(fmt::format("{}: nothing is measured yet", paths.front()));
  bool good = true;
  if (options.has("baseline")) {
    const std::string path = options.required("baseline");
    const bench::Document before = bench::read_document(path);
    for (const bench::Session& session : document.sessions)
      if (session.source == bench::kOwnSource)
        bench::check_comparable(before, path, session.backend, session.device, {});
    const bench::Comparison comparison = bench::compare(document, before);
    print(bench::comparison_text(comparison));
    good = comparison.good();
  } else {
    print(bench::document_text(document));
  }
  if (options.has("out")) {
    check_no_run(options.required("out"));
    bench::write_bench_report(options.required("out"), document, command_line(words));
  }
  return good ? 0 : static_cast<int>(Exit::kVerdict);
}

std::string tables_text(const std::vector<report::Section>& sections) {
  std::string text;
  for (const report::Section& section : sections) {
    text += fmt::format("{}model {}\n", text.empty() ? "" : "\n", model_name(section.model));
    for (const report::Table& table : section.tables) text += "\n" + table_text(section, table);
    text += "\n";
    for (const std::string& line : evidence_text(section.evidence)) text += line + "\n";
  }
  return text;
}

}  // namespace

int cmd_report(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words, "run", kMostRuns);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::vector<std::string> paths = options.list("run");
  if (paths.empty()) throw usage_error("kvx report needs a run folder");
  if (options.has("junit") && !options.has("baseline"))
    throw usage_error("--junit is of the comparison with --baseline, which is missing");
  if (std::any_of(paths.begin(), paths.end(), bench::is_bench_run))
    return report_bench(options, paths, words);
  const bool quiet = options.flag("quiet");
  std::vector<report::Model> models = load(paths, quiet);
  bool good = true;
  for (const report::Model& model : models) {
    if (!model.conflicts.empty()) good = false;
    for (const std::string& conflict : model.conflicts)
      tell(fmt::format("kvx: {}: other values in another run\n", conflict));
  }
  if (options.has("baseline")) {
    const report::Comparison comparison =
        report::compare(models, load({options.required("baseline")}, quiet));
    print(comparison_text(comparison));
    if (options.has("junit")) write_file(options.required("junit"), comparison_junit(comparison));
    good = good && comparison.good();
    if (!options.has("out")) return good ? 0 : static_cast<int>(Exit::kVerdict);
  }
  std::vector<report::Section> sections;
  for (report::Model& model : models) sections.push_back(report::make_section(std::move(model)));
  if (options.has("out")) {
    check_no_run(options.required("out"));
    report::write_report(options.required("out"), sections, command_line(words));
  }
  if (!options.has("baseline")) print(tables_text(sections));
  return good ? 0 : static_cast<int>(Exit::kVerdict);
}

}  // namespace kvx::eval
