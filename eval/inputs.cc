#include "eval/inputs.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <set>
#include <span>

#include "eval/build_info.h"
#include "eval/error_record.h"
#include "eval/files.h"
#include "eval/plan.h"
#include "eval/ppl.h"
#include "eval/scheme_options.h"
#include "eval/task_inputs.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;
using model::CacheMode;

constexpr int64_t kDefaultBatch = 16;
constexpr std::array<std::string_view, 2> kNonFinite{"refuse", "propagate"};
constexpr std::array<std::string_view, 2> kArithmetics{"ieee", "fixed"};

void check_backend(const std::string& backend, const std::vector<Descriptor>& schemes) {
  if (const std::string reason = backend_unavailable(backend); !reason.empty())
    throw environment_error(fmt::format("--backend {}: {}", backend, reason));
  if (backend == kCpu) return;
  std::vector<Descriptor> run = schemes;
  run.push_back(Descriptor::parse(kBaseScheme));
  for (const Descriptor& scheme : run)
    if (!gpu::has_kernel(scheme.name()))
      throw environment_error(
          fmt::format("--backend {}: no CUDA kernels for scheme {}", backend, scheme.name()));
}

// Makes every cache once, so that a scheme that does not fit the model is refused before anything
// runs.
void check_shapes(const Inputs& in, const model::ModelConfig& config) {
  std::set<CacheMode> modes;
  if (in.ppl) modes.insert(in.ppl->modes.begin(), in.ppl->modes.end());
  if (in.error) modes.insert(in.error->modes.begin(), in.error->modes.end());
  for (const TaskInputs& task : in.tasks) modes.insert(task.modes.begin(), task.modes.end());
  for (const Descriptor& scheme : in.schemes)
    for (const CacheMode mode : modes)
      for (int layer = 0; layer < config.layers; ++layer) {
        const CacheConfig cache{
            .shape = {layer, static_cast<int>(config.kv_heads), static_cast<int>(config.head_dim)},
            .windows = mode == CacheMode::kAll ? Windows::kNone : Windows::kKept,
            .nonfinite = in.nonfinite,
            .arithmetic = scheme_arithmetic(scheme, in.arithmetic),
            .artifacts = in.artifacts.artifacts()};
        in.artifacts.factory(scheme)(cache);
        if (layer == 0 && in.backends.back() == kCuda) gpu::make_cache(scheme, cache);
      }
}

std::string default_folder(const std::string& model_path) {
  const std::filesystem::path path = std::filesystem::path(model_path).lexically_normal();
  const std::string stem =
      path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
  return fmt::format("runs/{:%Y%m%d-%H%M%S}-{}", fmt::gmtime(std::chrono::system_clock::now()),
                     stem);
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()));
}

// This call, with what it runs on: none of it decides a value.
Json session(const std::vector<std::string>& words, const Inputs& in) {
  const HostInfo host = host_info();
  const BuildInfo& build = build_info();
  Json command = Json::array({"kvx", "eval"});
  for (const std::string& word : words) command.push_back(word);
  Json json{{"started", utc_now()},
            {"command", command},
            {"program",
             {{"version", build.version}, {"compiler", build.compiler}, {"flags", build.flags}}},
            {"host", {{"name", host.name}, {"cpu", host.cpu}, {"isa", host.isa}}},
            {"threads", in.threads},
            {"backends", in.backends}};
  if (in.backends.back() == kCuda) json["device"] = gpu::device_report();
  return json;
}

Json mode_names(const std::vector<CacheMode>& modes) {
  Json names = Json::array();
  for (const CacheMode mode : modes) names.push_back(model::cache_mode_name(mode));
  return names;
}

Json make_header(const Inputs& in, const std::string& model_path, const std::string& nonfinite,
                 const Json& data) {
  const model::ModelConfig& config = in.checkpoint->config();
  const std::vector<uint64_t> steps = model::rope_steps(*in.checkpoint);
  Json header;
  header["schema"] = kRunSchema;
  header["identity"] = {{"arithmetic", arithmetic_name(in.arithmetic)},
                        {"model_sha256", in.checkpoint->sha256()},
                        {"tokenizer_sha256", in.tokenizer->sha256()},
                        {"nonfinite", nonfinite},
                        {"rope_steps_sha256", sha256_hex(std::as_bytes(std::span(steps)))}};
  if (in.arithmetic != Arithmetic::kIeee)
    header["identity"]["base_arithmetic"] = arithmetic_name(Arithmetic::kIeee);
  header["tasks"] = Json::object();
  header["measured"] = Json::object();
  if (in.ppl) {
    const std::string name = task_name(kPplTask);
    header["tasks"][name] = in.ppl->identity;
    header["measured"][name] = {{"modes", mode_names(in.ppl->modes)}, {"windows", in.ppl->windows}};
  }
  if (in.error) {
    const std::string name = task_name(kErrorTask);
    header["tasks"][name] = in.error->identity;
    header["measured"][name] = {{"modes", mode_names(in.error->modes)},
                                {"windows", in.error->windows}};
  }
  for (const TaskInputs& task : in.tasks) {
    const std::string name(task.task->name());
    header["tasks"][name] = task.task->identity();
    header["tasks"][name]["task"] = task.versioned();
    header["measured"][name] = task.task->selection();
    header["measured"][name]["modes"] = mode_names(task.modes);
  }
  header["model"] = {{"path", model_path},          {"architecture", config.architecture},
                     {"layers", config.layers},     {"heads", config.heads},
                     {"kv_heads", config.kv_heads}, {"head_dim", config.head_dim},
                     {"vocab", config.vocab},       {"tokenizer", in.tokenizer->kind()}};
  if (!data.is_null()) header["data"] = data;
  header["schemes"] = Json::array();
  for (const Descriptor& scheme : in.schemes) header["schemes"].push_back(scheme.versioned());
  return header;
}

}  // namespace

po::options_description eval_options() {
  po::options_description options("options", 100);
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [] { return po::value<std::vector<std::string>>()->value_name("X"); };
  auto add = options.add_options();
  add("model", text(), "Hugging Face folder or .gguf file");
  add("task", list(),
      "what is measured: ppl (default), error, needle, arith, gsm8k; may be repeated");
  add("scheme", list(), "scheme descriptor, sweeps allowed: kivi:k{2,4}v{2,4}; may be repeated");
  add("mode", list(),
      "cache modes. ppl: streamed (default), all, and with --context prefill-exact, "
      "context-exact; error: streamed (default), all; other tasks: context-exact (default), "
      "prefill-exact, streamed");
  add_ppl_options(options);
  add_error_options(options);
  add_task_options(options);
  add("backend", text()->default_value("cpu"),
      "cpu, cuda, or cpu,cuda: both run every unit and must give the same bits");
  add("shadow", text(),
      "ppl: layers of every CUDA pass that the CPU reference computes again (default: 1; 0 beside "
      "cpu)");
  add_artifacts_option(options);
  add("out", text(), "run folder (default: runs/TIME-MODEL)");
  add("batch", text(),
      "samples that are generated together, at most (default: 16); results do not depend on it");
  add("threads", text()->default_value("0"),
      "threads; 0: as many as OpenMP says; results do not depend on it");
  add("seed", text()->default_value("1"), "of the bootstrap intervals");
  add("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate");
  add("arithmetic", text()->default_value("ieee"),
      "of attention over the caches: ieee, or fixed: exact integer sums over codes, of int and "
      "kivi; "
      "fp:f32 and what is read as computed stay ieee");
  add("kl", po::bool_switch(), "print the statistics of the divergence from fp:f32 as well");
  add("bins", text(), "print the scores by position as well, in that many bins (files: 8)");
  add("json", po::bool_switch(), "print one JSON document instead of the table");
  add("quiet", po::bool_switch(), "no progress");
  add("help", po::bool_switch(), "this text");
  return options;
}

std::string kept_artifacts(const std::string& run_folder) { return run_folder + "/artifacts"; }

std::string TaskInputs::versioned() const {
  return fmt::format("{}@{}", task->name(), task->version());
}

Inputs read_inputs(const Options& options, const std::vector<std::string>& words,
                   const Note& note) {
  Inputs in;
  const std::string model_path = options.required("model");
  const std::vector<std::string> tasks = parse_tasks(options.list("task"));
  const bool ppl = tasks.front() == task_name(kPplTask);
  const bool error = std::ranges::find(tasks, task_name(kErrorTask)) != tasks.end();
  const bool generated = std::ssize(tasks) > (ppl ? 1 : 0) + (error ? 1 : 0);
  if (ppl || error) options.required("data");
  in.backends = parse_backends(options.required("backend"));
  const std::string nonfinite = options.choice("nonfinite", kNonFinite);
  in.nonfinite = nonfinite == "refuse" ? NonFinite::kRefuse : NonFinite::kPropagate;
  in.arithmetic = options.choice("arithmetic", kArithmetics) == "fixed" ? Arithmetic::kFixed
                                                                        : Arithmetic::kIeee;
  in.out = options.has("out") ? options.required("out") : default_folder(model_path);
  in.threads = static_cast<int>(options.integer("threads", 0, 4096));
  in.seed = static_cast<uint64_t>(options.integer("seed", 0, INT64_MAX));
  in.batch = options.has("batch") ? options.integer("batch", 1, 4096) : kDefaultBatch;
  const bool cuda = in.backends.back() == kCuda;
  if (options.has("shadow")) {
    in.shadow_layers = options.integer("shadow", 0, 4096);
    if (!cuda) throw usage_error("--shadow: of --backend cuda; the cpu is the reference itself");
    if (!ppl)
      throw usage_error("--shadow: of task ppl; --backend cpu,cuda compares what is generated");
  } else {
    in.shadow_layers = cuda && in.backends.size() == 1 ? 1 : 0;
  }
  in.artifacts = artifact_store(options, kept_artifacts(in.out));
  in.schemes = parse_schemes(options.list("scheme"), in.artifacts, note);
  const TaskModes modes = parse_modes(
      options.list("mode"),
      {.ppl = ppl, .error = error, .generated = generated, .context = options.has("context")});
  if (ppl) read_cut(options, modes.ppl);
  for (const std::string& backend : in.backends) check_backend(backend, in.schemes);

  in.checkpoint = model::Checkpoint::open(model_path);
  const model::ModelConfig& config = in.checkpoint->config();
  in.tokenizer = model::Tokenizer::open(model_path);
  Json data;
  if (ppl || error) {
    PplInputs text = read_ppl_inputs(options, modes.ppl, *in.tokenizer, config);
    data = text.data;
    if (error) in.error = read_error_inputs(options, modes.error, text);
    if (ppl) in.ppl = std::move(text);
  }
  for (auto& task : make_tasks(options, tasks, *in.tokenizer))
    in.tasks.push_back({std::move(task), modes.generated});
  check_shapes(in, config);

  in.header = make_header(in, model_path, nonfinite, data);
  in.header["seed"] = in.seed;
  in.header["sessions"] = Json::array({session(words, in)});
  return in;
}

}  // namespace kvx::eval
