#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <tuple>

#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/options.h"
#include "eval/plan.h"
#include "eval/ppl.h"
#include "eval/progress.h"
#include "eval/summary.h"
#include "eval/text.h"
#include "gpu/registry.h"
#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/tokenizer.h"
#include "sim/num/rope.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 1> kTasks{"ppl"};
constexpr std::array<std::string_view, 2> kBackends{"cpu", "cuda"};
constexpr std::array<std::string_view, 2> kFormats{"text", "wikitext-raw"};
constexpr std::array<std::string_view, 2> kNonFinite{"refuse", "propagate"};

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

struct Inputs {
  std::vector<Descriptor> schemes;
  std::vector<model::CacheMode> modes;
  std::unique_ptr<model::Checkpoint> checkpoint;
  std::vector<int32_t> tokens;
  int64_t length = 0;
  int64_t windows = 0;
  NonFinite nonfinite = NonFinite::kRefuse;
  int threads = 0;
  bool quiet = false;
  Json header;
};

po::options_description describe() {
  po::options_description options("options", 100);
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [] { return po::value<std::vector<std::string>>()->value_name("X"); };
  options.add_options()
      ("model", text(), "Hugging Face folder or .gguf file")
      ("task", text()->default_value("ppl"), "what is measured: ppl")
      ("data", text(), "text file, UTF-8")
      ("format", text()->default_value("text"),
       "text: the bytes of the file; wikitext-raw: rows of wiki.test.raw joined as GPTQ does")
      ("scheme", list(), "scheme descriptor, sweeps allowed: kivi:k{2,4}v{2,4}; may be repeated")
      ("mode", list(), "cache modes: streamed (default), all; repeated or separated by commas")
      ("length", text()->default_value("2048"), "tokens in a window, L")
      ("windows", text()->default_value("all"), "number of windows, from the start")
      ("backend", text()->default_value("cpu"), "cpu or cuda")
      ("out", text(), "run folder (default: runs/TIME-MODEL)")
      ("threads", text()->default_value("0"), "threads; 0: as many as OpenMP says; results do not depend on it")
      ("seed", text()->default_value("1"), "of the bootstrap intervals")
      ("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate")
      ("json", po::bool_switch(), "print one JSON document instead of the table")
      ("quiet", po::bool_switch(), "no progress")
      ("help", po::bool_switch(), "this text");
  return options;
}

void say(const std::string& message) { fmt::print(stderr, "kvx: {}\n", message); }

void check_backend(const std::string& backend, const std::vector<Descriptor>& schemes) {
  if (backend == "cpu") return;
  if (!gpu::built()) throw environment_error("--backend cuda: this program was built without CUDA");
  for (const Descriptor& scheme : schemes)
    if (!gpu::has_kernel(scheme.name()))
      throw environment_error(fmt::format("--backend cuda: no CUDA kernels for scheme {}", scheme.name()));
  throw environment_error("--backend cuda: no CUDA engine in this program");
}

// Makes every cache once, so that a scheme that does not fit the model is refused before anything runs.
void check_shapes(const std::vector<Descriptor>& schemes, const model::ModelConfig& config,
                  const std::vector<model::CacheMode>& modes) {
  for (const Descriptor& scheme : schemes)
    for (const model::CacheMode mode : modes)
      ref::make_cache(scheme, {.shape = {0, static_cast<int>(config.kv_heads), static_cast<int>(config.head_dim)},
                               .windows = mode == model::CacheMode::kAll ? Windows::kNone : Windows::kKept});
}

std::string hash_of_steps(const std::vector<uint64_t>& steps) {
  return sha256_hex(std::as_bytes(std::span(steps)));
}

Inputs prepare(const Options& options, const std::vector<std::string>& words) {
  Inputs in;
  const std::string model_path = options.required("model");
  const std::string data_path = options.required("data");
  options.choice("task", kTasks);
  const std::string format = options.choice("format", kFormats);
  const std::string backend = options.choice("backend", kBackends);
  const std::string nonfinite = options.choice("nonfinite", kNonFinite);
  in.nonfinite = nonfinite == "refuse" ? NonFinite::kRefuse : NonFinite::kPropagate;
  in.length = options.integer("length", 2, int64_t{1} << 24);
  in.threads = static_cast<int>(options.integer("threads", 0, 4096));
  const int64_t seed = options.integer("seed", 0, INT64_MAX);
  const bool all_windows = options.text("windows") == "all";
  if (!all_windows) in.windows = options.integer("windows", 1, INT64_MAX);
  in.quiet = options.flag("quiet");
  const Note note = [&in](const std::string& message) {
    if (!in.quiet) say(message);
  };
  in.schemes = parse_schemes(options.list("scheme"), note);
  in.modes = parse_ppl_modes(options.has("mode") ? options.list("mode") : std::vector<std::string>{"streamed"});
  check_backend(backend, in.schemes);

  const std::string data = read_file(data_path);
  const std::string text = format == "text" ? data : wikitext_rows_joined(data);
  in.checkpoint = model::Checkpoint::open(model_path);
  const model::ModelConfig& config = in.checkpoint->config();
  if (in.length > config.max_positions)
    throw usage_error(fmt::format("--length {}: {} has {} positions", in.length, model_path, config.max_positions));
  check_shapes(in.schemes, config, in.modes);

  const auto tokenizer = model::Tokenizer::open(model_path);
  if (tokenizer->vocab_size() > config.vocab)
    throw environment_error(fmt::format("{}: the tokenizer has {} ids, the model {}", model_path,
                                        tokenizer->vocab_size(), config.vocab));
  try {
    in.tokens = tokenizer->encode(text, true, false);
  } catch (const Error& error) {
    throw Error(error.exit(), fmt::format("{}: {}", data_path, error.what()));
  }
  const int64_t count = static_cast<int64_t>(in.tokens.size());
  const int64_t available = count / in.length;
  if (available == 0)
    throw environment_error(fmt::format("{}: {} tokens, fewer than one window of {}", data_path, count, in.length));
  if (all_windows) in.windows = available;
  if (in.windows > available)
    throw usage_error(fmt::format("--windows {}: {} has {} tokens, which make {} windows of {}", in.windows,
                                  data_path, count, available, in.length));

  const HostInfo host = host_info();
  const BuildInfo& build = build_info();
  const std::vector<uint64_t> steps = num::rope_steps(
      static_cast<int>(config.head_dim), config.rope_theta, in.checkpoint->rope_divisors());
  const bool bos = tokenizer->adds_bos();
  Json& header = in.header;
  header["schema"] = kRunSchema;
  header["identity"] = {{"task", kPplTask},
                        {"arithmetic", "ieee"},
                        {"model_sha256", in.checkpoint->sha256()},
                        {"tokenizer_sha256", tokenizer->sha256()},
                        {"data_sha256", sha256_hex(data)},
                        {"format", format},
                        {"text_sha256", sha256_hex(text)},
                        {"tokens_sha256", sha256_hex(std::as_bytes(std::span(in.tokens)))},
                        {"tokens", count},
                        {"bos", bos},
                        {"length", in.length},
                        {"nonfinite", nonfinite},
                        {"rope_steps_sha256", hash_of_steps(steps)}};
  header["model"] = {{"path", model_path},
                     {"architecture", config.architecture},
                     {"layers", config.layers},
                     {"heads", config.heads},
                     {"kv_heads", config.kv_heads},
                     {"head_dim", config.head_dim},
                     {"vocab", config.vocab},
                     {"tokenizer", tokenizer->kind()}};
  header["data"] = {{"path", data_path}, {"bytes", data.size()}};
  header["modes"] = Json::array();
  for (const model::CacheMode mode : in.modes) header["modes"].push_back(model::cache_mode_name(mode));
  header["schemes"] = Json::array();
  for (const Descriptor& scheme : in.schemes) header["schemes"].push_back(scheme.versioned());
  header["windows"] = in.windows;
  header["seed"] = seed;
  Json command = Json::array({"kvx", "eval"});
  for (const std::string& word : words) command.push_back(word);
  header["sessions"] = Json::array(
      {{{"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()))},
        {"command", command},
        {"program", {{"version", build.version}, {"compiler", build.compiler}, {"flags", build.flags}}},
        {"host", {{"name", host.name}, {"cpu", host.cpu}, {"isa", host.isa}}},
        {"threads", in.threads}}});
  return in;
}

std::string default_folder(const std::string& model_path) {
  const std::filesystem::path path = std::filesystem::path(model_path).lexically_normal();
  const std::string stem = path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
  return fmt::format("runs/{:%Y%m%d-%H%M%S}-{}", fmt::gmtime(std::chrono::system_clock::now()), stem);
}

// The work of one window in one mode: the base if anything needs it, then the schemes that are not yet there.
class Runner {
 public:
  Runner(const Inputs& in, RunFolder& folder)
      : in_(in), folder_(folder), base_(Descriptor::parse(kBaseScheme)), progress_(count_missing(), in.quiet) {}

  // False: interrupted.
  bool run() {
    std::unique_ptr<model::Model> model;
    for (int64_t window = 0; window < in_.windows; ++window) {
      for (const model::CacheMode mode : in_.modes) {
        if (missing(mode, window).empty() && folder_.find(key(mode, window, base_))) continue;
        if (!model) model = std::make_unique<model::Model>(*in_.checkpoint);
        if (!run_window(*model, mode, window)) return false;
      }
    }
    return true;
  }

 private:
  static UnitKey key(model::CacheMode mode, int64_t window, const Descriptor& scheme) {
    return {model::cache_mode_name(mode), window, scheme.versioned()};
  }

  std::vector<Descriptor> missing(model::CacheMode mode, int64_t window) const {
    std::vector<Descriptor> schemes;
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == base_) && !folder_.find(key(mode, window, scheme))) schemes.push_back(scheme);
    return schemes;
  }

  int64_t count_missing() const {
    int64_t count = 0;
    for (int64_t window = 0; window < in_.windows; ++window)
      for (const model::CacheMode mode : in_.modes) {
        const int64_t schemes = static_cast<int64_t>(missing(mode, window).size());
        count += schemes + (schemes > 0 || !folder_.find(key(mode, window, base_)) ? 1 : 0);
      }
    return count;
  }

  bool run_window(const model::Model& model, model::CacheMode mode, int64_t window) {
    const std::span<const int32_t> tokens(in_.tokens.data() + window * in_.length,
                                          static_cast<size_t>(in_.length));
    const PassSettings settings{mode, in_.nonfinite, in_.threads};
    const std::vector<Descriptor> schemes = missing(mode, window);
    if (interrupted()) return false;
    start(key(mode, window, base_));
    PassResult base = run_base(model, tokens, settings, !schemes.empty(), window_);
    base.record.key = key(mode, window, base_);
    if (const UnitRecord* recorded = folder_.find(base.record.key)) {
      if (to_json(*recorded).at("nll_mean") != to_json(base.record).at("nll_mean"))
        throw Error(Exit::kVerdict, fmt::format("{}: {} measured again has another NLL than the recorded one", folder_.path(),
                                                base.record.key.str()));
    } else {
      folder_.add(base.record, base.scores);
    }
    progress_.finish();
    for (const Descriptor& scheme : schemes) {
      if (interrupted()) return false;
      const UnitKey unit = key(mode, window, scheme);
      start(unit);
      PassResult result = run_scheme(model, scheme, tokens, settings, window_);
      result.record.key = unit;
      folder_.add(result.record, result.scores);
      progress_.finish();
    }
    return true;
  }

  void start(const UnitKey& unit) {
    progress_.start(fmt::format("window {} {} {}", unit.window, unit.mode, scheme_label(unit.scheme)));
  }

  const Inputs& in_;
  RunFolder& folder_;
  Descriptor base_;
  BaseWindow window_;
  Progress progress_;
};

}  // namespace

int cmd_eval(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    std::ostringstream text;
    text << kHelp << visible;
    fmt::print("{}", text.str());
    return 0;
  }
  const Inputs in = prepare(options, words);
  const std::string out = options.has("out") ? options.required("out") : default_folder(options.text("model"));
  const Note note = [&in](const std::string& message) {
    if (!in.quiet) say(message);
  };
  RunFolder folder(out, in.header, note);
  watch_interrupts();
  if (!Runner(in, folder).run()) {
    say(fmt::format("interrupted with {} units done; the same command with --out {} continues", folder.size(), out));
    return static_cast<int>(Exit::kInterrupted);
  }
  const Summary summary = summarise(folder, in.windows, note);
  folder.write_view("table.csv", summary_csv(summary));
  folder.write_view("plot.svg", summary_svg(summary));
  if (options.flag("json")) {
    fmt::print("{}\n", summary_json(summary).dump(2));
  } else {
    fmt::print("{}", summary_table(summary));
  }
  note(fmt::format("{} units in {}", folder.size(), out));
  return 0;
}

}  // namespace kvx::eval
