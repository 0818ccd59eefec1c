#include <fmt/core.h>

#include "eval/cli.h"
#include "eval/inputs.h"
#include "eval/interrupt.h"
#include "eval/runner.h"
#include "eval/summary.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

constexpr const char* kHelp =
    R"(usage: kvx eval --model PATH --data FILE [--scheme DESCRIPTOR]... [options]

Perplexity in GPTQ's protocol: the text is tokenised once, cut into windows of L tokens (the rest
is dropped), each window is a sequence of its own with L-1 targets, and the perplexity is exp of
the mean of the windows' mean negative log-likelihoods. Every scheme is compared position by
position with fp:f32, which runs once a window and is always a row of the table. Its logits are
kept meanwhile: L x vocabulary x 4 bytes (400 MB at 2048 x 49152).

The table goes to standard output, progress to standard error. The run folder gets run.json, one
line of results.jsonl per window and scheme, table.csv and plot.svg; the same command continues a
folder that was interrupted, and more schemes, modes or windows may be added.

)";

void say(const std::string& message) { fmt::print(stderr, "kvx: {}\n", message); }

}  // namespace

int cmd_eval(const std::vector<std::string>& words) {
  const boost::program_options::options_description visible = eval_options();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const bool quiet = options.flag("quiet");
  const Note note = [quiet](const std::string& message) {
    if (!quiet) say(message);
  };
  const Inputs in = read_inputs(options, words, note);
  RunFolder folder(in.out, in.header, note);
  watch_interrupts();
  if (!run_missing(in, folder, quiet)) {
    say(fmt::format("interrupted with {} units done; the same command with --out {} continues",
                    folder.size(), in.out));
    return static_cast<int>(Exit::kInterrupted);
  }
  const Summary summary = summarise(folder, in.windows, note);
  folder.write_view("table.csv", summary_csv(summary));
  folder.write_view("plot.svg", summary_svg(summary));
  if (options.flag("json")) {
    fmt::print("{}\n", json_text(summary_json(summary), 2));
  } else {
    fmt::print("{}", summary_table(summary));
  }
  if (in.windows > 1 && in.windows < 10)
    note(fmt::format("intervals over {} windows are rough", in.windows));
  note(fmt::format("{} units in {}", folder.size(), in.out));
  return 0;
}

}  // namespace kvx::eval
