#include <fmt/core.h>

#include "eval/cli.h"
#include "eval/error_table.h"
#include "eval/inputs.h"
#include "eval/interrupt.h"
#include "eval/report/load.h"
#include "eval/report/page.h"
#include "eval/runner.h"
#include "eval/streams.h"
#include "eval/summary.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

constexpr const char* kHelp =
    R"(usage: kvx eval --model PATH [--task NAME]... [--scheme DESCRIPTOR]... [options]

Measures tasks under every scheme and under fp:f32, which is always one of them, in any number of
calls on one run folder. Tasks:

ppl (default, --data FILE): the text is tokenised once and cut into windows of L tokens (the rest is
dropped), each a sequence of its own. Every scheme is compared position by position with fp:f32,
which runs once a window.
--protocol gptq: L 2048, L-1 targets a window, perplexity is exp of the mean of the windows' mean
  negative log-likelihoods. --format wikitext-raw makes GPTQ's text out of wiki.test.raw.
--protocol llama.cpp: the bytes of the file without one final line end, L 512, a BOS in place of
  the first token of every window if the model uses one, and the second half of each window is
  scored: L - L/2 - 1 targets. --kl prints its statistics of the divergence.

Modes prefill-exact and context-exact read the first N tokens of a window (--context N) exactly as
computed and the rest through the cache. Scored are the tokens from N on, in context-exact those
from N+1 on: token N is predicted by a position that has read nothing quantised.

needle (--haystack FILE): values hidden in prose, or a pass key in filler, are asked for at the end;
  score is the share of them found in the answer, by length and depth.
  Greedy, 128 new tokens (passkey 10), to the end of the line; shaped like RULER (needle.md).
    kvx eval --model M --task needle --haystack BOOK --needle-lengths 1024,4096 --scheme kivi2
arith: word problems easy enough for the smallest models, made from templates: accuracy.
  8 solved problems in front, greedy, 128 new tokens; strict (after ####) and flexible reading.
    kvx eval --model M --task arith --arith-samples 500 --scheme 'int:k{2,4}v{2,4}'
gsm8k (--gsm8k FOLDER): grade school word problems: accuracy, strict and flexible reading.
  Prompts, stop strings and filters of lm-evaluation-harness, version 3: 5 shots, 256 new tokens.
    kvx eval --model M --task gsm8k --gsm8k data/gsm8k --gsm8k-limit 200 --scheme kivi2

These three are answered token by token, --batch samples together, in mode context-exact (haystack
or solved problems read exactly, question and answer through the cache), prefill-exact (the whole
prompt exact) or streamed. More lengths, depths, kinds and samples may be added to a folder.

error: relative errors of K, V, attention weights and attention output of every layer, each layer
  alone on what the unquantised model computes there, over the first windows of the text
  (--error-windows N). The caches are the reference's, whatever backend runs the model.

--arithmetic fixed: attention over the caches sums integers (sim/num/fixed.md), of schemes with affine
  codes: int, kivi. The unquantised model, fp:f32, stays ieee, and with it contexts and prompts that
  are read exactly. A folder holds one arithmetic.

--backend cuda computes the same bits on a GPU. In every pass of ppl the reference computes a layer
again from the activations of the pass (--shadow N: N layers) and compares what the cache stores,
what it decodes to and the attention of some queries; generated tasks have no shadow. --backend
cpu,cuda runs every unit on both, compares every logit and likelihood of ppl, and of a sample the
logits of its first token, its tokens and its bytes, and shows where they part (exit code 1). On a
folder that the other backend filled, the recorded values are compared.

The tables go to standard output, progress to standard error. The run folder gets run.json, one line
of results.jsonl per window or sample, mode and scheme, of ppl table.csv, divergence.csv,
positions.csv (scores by position in the window), plot.svg and positions.svg, of error error.csv;
kvx report makes a page of it. The same command continues a folder that was interrupted, and more
tasks, schemes, modes, windows or samples may be added.

)";

void say(const std::string& message) { tell(fmt::format("kvx: {}\n", message)); }

// The tables of the tasks that are answered by generation.
void print_samples(const std::string& run_folder) {
  for (report::Model& model : report::merge({report::load_run(run_folder)})) {
    const report::Section section = report::make_section(std::move(model));
    for (const report::Table& table : section.tables)
      if (table.kind == report::Kind::kSamples) print(table_text(section, table) + "\n");
  }
}

}  // namespace

int cmd_eval(const std::vector<std::string>& words) {
  const boost::program_options::options_description visible = eval_options();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const bool quiet = options.flag("quiet");
  const int64_t bins = options.has("bins") ? options.integer("bins", 1, 4096) : kDefaultBins;
  const Note note = [quiet](const std::string& message) {
    if (!quiet) say(message);
  };
  const Inputs in = read_inputs(options, words, note);
  RunFolder folder(in.out, in.header, note);
  for (const Descriptor& scheme : in.schemes) in.artifacts.save(scheme, kept_artifacts(in.out));
  watch_interrupts();
  const BackendMaker make = [&in](std::string_view name) {
    return open_backend(name, *in.checkpoint, in.threads);
  };
  if (!run_missing(in, folder, quiet, make)) {
    say(fmt::format("interrupted with {} units done; the same command with --out {} continues",
                    folder.size(), in.out));
    return static_cast<int>(Exit::kInterrupted);
  }
  note(fmt::format("{} units in {}; a page of them: kvx report {} --out FOLDER", folder.size(),
                   in.out, in.out));
  if (!in.tasks.empty() && !options.flag("json")) print_samples(in.out);
  if (in.error) {
    folder.write_view("error.csv", error_csv(folder));
    if (!options.flag("json"))
      print(error_table(folder, in.error->windows, note) + (in.ppl ? "\n" : ""));
  }
  if (!in.ppl) return 0;
  const Summary summary = summarise(folder, in.ppl->cut, in.ppl->windows, bins, note);
  folder.write_view("table.csv", summary_csv(summary));
  folder.write_view("divergence.csv", divergences_csv(summary));
  folder.write_view("positions.csv", positions_csv(summary));
  folder.write_view("plot.svg", summary_svg(summary));
  folder.write_view("positions.svg", positions_svg(summary));
  if (options.flag("json")) {
    print(json_text(summary_json(summary), 2) + "\n");
  } else {
    print(summary_table(summary));
    if (options.has("bins")) print(positions_table(summary));
    if (options.flag("kl")) print(divergences_text(summary));
  }
  if (in.ppl->windows > 1 && in.ppl->windows < 10)
    note(fmt::format("intervals over {} windows are rough", in.ppl->windows));
  return 0;
}

}  // namespace kvx::eval
