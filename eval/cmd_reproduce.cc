#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "eval/cli.h"
#include "eval/files.h"
#include "eval/inputs.h"
#include "eval/interrupt.h"
#include "eval/report/html.h"
#include "eval/report/write.h"
#include "eval/reproduce/calibrations.h"
#include "eval/reproduce/result_text.h"
#include "eval/reproduce/shipped.h"
#include "eval/runner.h"
#include "eval/scheme_options.h"
#include "eval/streams.h"
#include "eval/text.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;
using reproduce::Recipe;
using reproduce::RecipeProtocol;

constexpr const char* kHelp =
    R"(usage: kvx reproduce RECIPE --model PATH --data FILE [--out FOLDER] [options]
       kvx reproduce --list

Runs a paper's tables on a model: every row of the recipe as a scheme of `kvx eval`, in one run folder
(the same command continues it), and puts the numbers beside the paper's. Claims of the paper are
judged: held, not held, or not distinguishable, by the 95 % interval of a paired bootstrap over
windows, of which six are the fewest that tell anything. RECIPE is the name of a shipped one (--list) or a JSON file (reports/schema/recipe.md).

Schemes that need calibration get it first, as by `kvx calibrate`, from --calibration-data, on the
device where --backend names it; what was made is kept in the run folder and not made again. --dry-run shows the descriptors and the work.

The tables go to standard output; the run folder gets reproduce.json, reproduce.md and, in page/, the
pages of `kvx report` with reproduce.html. The exit code is 0 whatever the verdicts; with --strict it
is 1 where a claim is not held.

)";

void say(const std::string& message) { tell(fmt::format("kvx: {}\n", message)); }

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("list", po::bool_switch(), "the shipped recipes");
  add("dry-run", po::bool_switch(), "show descriptors and work, run nothing");
  add("model", text(), "Hugging Face folder or .gguf file");
  add("data", text(), "text file, UTF-8, that is measured");
  add("format", text()->default_value("text"), kTextFormatsHelp);
  add("windows", text(), "windows of task ppl, from the start (default: the recipe's)");
  add("error-windows", text(), "windows of task error (default: the recipe's)");
  add("length", text(), "tokens in a window (default: the recipe's)");
  add("backend", text()->default_value("cpu"), "cpu, cuda, or cpu,cuda, as of kvx eval");
  add("shadow", text(), "as of kvx eval");
  add_artifacts_option(options);
  reproduce::add_calibration_options(options);
  add("out", text(), "run folder (default: runs/RECIPE-MODEL)");
  add("threads", text()->default_value("0"),
      "threads; 0: as many as OpenMP says; results do not depend on it");
  add("seed", text()->default_value("1"), "of the bootstrap intervals");
  add("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate");
  add("strict", po::bool_switch(), "exit code 1 where a claim is not held");
  add("json", po::bool_switch(), "print reproduce.json instead of the tables");
  add("quiet", po::bool_switch(), "no progress");
  add("help", po::bool_switch(), "this text");
  return options;
}

RecipeProtocol protocol_of(const Recipe& recipe, const Options& options) {
  RecipeProtocol protocol = recipe.protocol;
  constexpr int64_t kMost = int64_t{1} << 24;
  if (options.has("length")) protocol.length = options.integer("length", 2, kMost);
  for (const auto& [name, task, count] :
       {std::tuple{"windows", "ppl", &protocol.windows},
        std::tuple{"error-windows", "error", &protocol.error_windows}}) {
    if (!options.has(name)) continue;
    if (!protocol.has(task))
      throw usage_error(
          fmt::format("--{}: of task {}, which recipe {} has not", name, task, recipe.name));
    *count = options.integer(name, 1, kMost);
  }
  return protocol;
}

std::vector<const reproduce::RecipeRow*> rows_of(const Recipe& recipe) {
  std::vector<const reproduce::RecipeRow*> rows;
  for (const reproduce::RecipeTable& table : recipe.tables)
    for (const reproduce::RecipeRow& row : table.rows) rows.push_back(&row);
  return rows;
}

void print_list() {
  std::vector<std::vector<std::string>> rows{{"recipe", "paper", "title", "rows", "claims"}};
  for (const reproduce::ShippedRecipe& shipped : reproduce::shipped_recipes()) {
    const Recipe recipe = reproduce::open_recipe(std::string(shipped.name));
    rows.push_back({recipe.name, "arXiv " + recipe.arxiv, recipe.title,
                    fmt::format("{}", rows_of(recipe).size()),
                    fmt::format("{}", recipe.claims.size())});
  }
  print(align_columns(rows, 3));
}

void print_plan(const Recipe& recipe, const RecipeProtocol& protocol) {
  std::vector<std::vector<std::string>> rows{{"row", "scheme"}};
  std::vector<std::string> schemes;
  for (const reproduce::RecipeRow* row : rows_of(recipe)) {
    rows.push_back({row->id, row->scheme});
    if (std::ranges::find(schemes, row->scheme) == schemes.end()) schemes.push_back(row->scheme);
  }
  std::string text = recipe.title + "\n\n";
  for (const reproduce::Calibration& one : recipe.calibrations)
    if (recipe.uses(one))
      text += fmt::format("calibrate @{}: {} on {} windows of {}\n", one.name, one.scheme,
                          one.samples, one.length);
  text += "\n" + align_columns(rows, 2) + "\n";
  const auto passes = static_cast<int64_t>((schemes.size() + 1) * protocol.modes.size());
  if (protocol.has("ppl"))
    text += fmt::format("ppl: {} schemes and fp:f32, modes {}, {} windows of {}: {} passes\n",
                        schemes.size(), fmt::join(protocol.modes, ", "), protocol.windows,
                        protocol.length, passes * protocol.windows);
  if (protocol.has("error"))
    text += fmt::format("error: {} windows of {}, {} units\n", protocol.error_windows,
                        protocol.length, passes * protocol.error_windows);
  print(text);
}

// The call of `kvx eval` that measures the recipe.
std::vector<std::string> eval_words(const RecipeProtocol& protocol, const Options& options,
                                    const std::vector<std::string>& schemes,
                                    const std::string& out) {
  std::vector<std::string> words{"--task",   fmt::format("{}", fmt::join(protocol.tasks, ",")),
                                 "--mode",   fmt::format("{}", fmt::join(protocol.modes, ",")),
                                 "--length", fmt::format("{}", protocol.length),
                                 "--out",    out};
  const auto add = [&words](const std::string& name, const std::string& value) {
    words.insert(words.end(), {"--" + name, value});
  };
  if (protocol.has("ppl")) add("windows", fmt::format("{}", protocol.windows));
  if (protocol.has("error")) add("error-windows", fmt::format("{}", protocol.error_windows));
  for (const char* name : {"model", "data"}) add(name, options.required(name));
  for (const char* name :
       {"format", "backend", "shadow", "artifacts", "threads", "seed", "nonfinite"})
    if (options.has(name)) add(name, options.text(name));
  for (const std::string& scheme : schemes) add("scheme", scheme);
  return words;
}

std::string default_folder(const Recipe& recipe, const std::string& model) {
  const std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  return fmt::format(
      "runs/{}-{}", recipe.name,
      path.has_filename() ? path.stem().string() : path.parent_path().filename().string());
}

reproduce::Result read_result(const Recipe& recipe, const RecipeProtocol& protocol,
                              const Inputs& in,
                              const std::map<std::string, std::string>& artifacts) {
  ArtifactStore store = in.artifacts;
  reproduce::Schemes schemes;
  for (const reproduce::RecipeRow* row : rows_of(recipe))
    schemes[row->id] = store.parse(reproduce::with_artifacts(row->scheme, artifacts)).versioned();
  std::vector<report::Run> runs;
  runs.push_back(report::load_run(in.out));
  return evaluate(recipe, protocol, schemes, std::move(report::merge(std::move(runs)).front()));
}

void write_files(const reproduce::Result& result, const std::string& out,
                 const std::string& command) {
  write_file(out + "/reproduce.json", json_text(result_json(result), 2) + "\n");
  write_file(out + "/reproduce.md", result_markdown(result));
  report::write_report(out + "/page", result.sections, command);
  write_file(out + "/page/reproduce.html", result_page(result, command));
}

}  // namespace

int cmd_reproduce(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words, "recipe");
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  if (options.flag("list")) {
    print_list();
    return 0;
  }
  if (!options.has("recipe")) throw usage_error("kvx reproduce needs a recipe; --list names them");
  const Recipe recipe = reproduce::open_recipe(options.text("recipe"));
  const RecipeProtocol protocol = protocol_of(recipe, options);
  if (options.flag("dry-run")) {
    print_plan(recipe, protocol);
    return 0;
  }
  const bool quiet = options.flag("quiet");
  const Note note = [quiet](const std::string& message) {
    if (!quiet) say(message);
  };
  const std::string model = options.required("model");
  options.required("data");
  const std::string out =
      options.has("out") ? options.required("out") : default_folder(recipe, model);
  const auto artifacts = make_artifacts(recipe, options, kept_artifacts(out), note);
  std::vector<std::string> schemes;
  for (const reproduce::RecipeRow* row : rows_of(recipe)) {
    std::string scheme = reproduce::with_artifacts(row->scheme, artifacts);
    if (std::ranges::find(schemes, scheme) == schemes.end()) schemes.push_back(std::move(scheme));
  }
  const std::vector<std::string> as_eval = eval_words(protocol, options, schemes, out);
  const Inputs in = read_inputs(Options(eval_options(), as_eval), as_eval, note);
  {
    RunFolder folder(out, in.header, note);
    for (const Descriptor& scheme : in.schemes) in.artifacts.save(scheme, kept_artifacts(out));
    watch_interrupts();
    const BackendMaker make = [&in](std::string_view name) {
      return open_backend(name, *in.checkpoint, in.threads);
    };
    if (!run_missing(in, folder, quiet, make)) {
      say(fmt::format("interrupted with {} units done; the same command with --out {} continues",
                      folder.size(), out));
      return static_cast<int>(Exit::kInterrupted);
    }
  }
  const reproduce::Result result = read_result(recipe, protocol, in, artifacts);
  std::vector<std::string> command{"kvx", "reproduce"};
  command.insert(command.end(), words.begin(), words.end());
  write_files(result, out, report::shell_line(command));
  print(options.flag("json") ? json_text(result_json(result), 2) + "\n" : result_text(result));
  note(fmt::format("{}; {}/reproduce.md, {}/page/reproduce.html", verdicts_line(result), out, out));
  const bool failed = options.flag("strict") && result.count(reproduce::Verdict::kNotHeld) > 0;
  return failed ? static_cast<int>(Exit::kVerdict) : 0;
}

}  // namespace kvx::eval
