#include "eval/inputs.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <span>

#include "eval/build_info.h"
#include "eval/files.h"
#include "eval/plan.h"
#include "eval/ppl.h"
#include "eval/scheme_options.h"
#include "eval/text.h"
#include "gpu/registry.h"
#include "sim/api/error.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;
using model::CacheMode;

constexpr std::array<std::string_view, 1> kTasks{"ppl"};
constexpr std::array<std::string_view, 2> kNonFinite{"refuse", "propagate"};

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
  for (const Descriptor& scheme : in.schemes)
    for (const CacheMode mode : in.modes)
      for (int layer = 0; layer < config.layers; ++layer) {
        const CacheConfig cache{
            .shape = {layer, static_cast<int>(config.kv_heads), static_cast<int>(config.head_dim)},
            .windows = mode == CacheMode::kAll ? Windows::kNone : Windows::kKept,
            .artifacts = in.artifacts.artifacts()};
        in.artifacts.factory(scheme)(cache);
        if (layer == 0 && in.backends.back() == kCuda) gpu::make_cache(scheme, cache);
      }
}

template <class T>
std::string hash_of(const std::vector<T>& values) {
  return sha256_hex(std::as_bytes(std::span(values)));
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

struct Source {
  const std::string& model_path;
  const std::string& data_path;
  const std::string& format;
  const std::string& nonfinite;
  const std::string& data;  // bytes of the file
  const std::string& text;  // made of them
};

// Without the BOS, which the tokenizer knows.
Cut read_cut(const Options& options, const std::vector<CacheMode>& modes) {
  const std::string protocol = options.choice("protocol", kProtocolNames);
  Cut cut;
  cut.protocol = protocol == kProtocolNames[0] ? Protocol::kGptq : Protocol::kLlamaCpp;
  cut.length = options.has("length") ? options.integer("length", 2, int64_t{1} << 24)
                                     : default_length(cut.protocol);
  if (options.has("context")) cut.context = options.integer("context", 1, cut.length - 1);
  for (const CacheMode mode : modes)
    if (first_scored(cut, mode) >= cut.length - 1)
      throw usage_error(
          fmt::format("--length {}, --context {}: mode {} scores no position of protocol {}",
                      cut.length, cut.context, model::cache_mode_name(mode), protocol));
  return cut;
}

Json make_header(const Inputs& in, const model::Tokenizer& tokenizer, const Source& source) {
  const model::ModelConfig& config = in.checkpoint->config();
  const std::vector<uint64_t> steps = model::rope_steps(*in.checkpoint);
  Json header;
  header["schema"] = kRunSchema;
  header["identity"] = {{"task", kPplTask},
                        {"arithmetic", "ieee"},
                        {"model_sha256", in.checkpoint->sha256()},
                        {"tokenizer_sha256", tokenizer.sha256()},
                        {"data_sha256", sha256_hex(source.data)},
                        {"format", source.format},
                        {"text_sha256", sha256_hex(source.text)},
                        {"tokens_sha256", hash_of(in.tokens)},
                        {"tokens", in.tokens.size()},
                        {"bos", tokenizer.adds_bos()},
                        {"protocol", protocol_name(in.cut.protocol)},
                        {"length", in.cut.length},
                        {"context", in.cut.context},
                        {"nonfinite", source.nonfinite},
                        {"rope_steps_sha256", hash_of(steps)}};
  header["model"] = {{"path", source.model_path},   {"architecture", config.architecture},
                     {"layers", config.layers},     {"heads", config.heads},
                     {"kv_heads", config.kv_heads}, {"head_dim", config.head_dim},
                     {"vocab", config.vocab},       {"tokenizer", tokenizer.kind()}};
  header["data"] = {{"path", source.data_path}, {"bytes", source.data.size()}};
  header["modes"] = Json::array();
  for (const CacheMode mode : in.modes) header["modes"].push_back(model::cache_mode_name(mode));
  header["schemes"] = Json::array();
  for (const Descriptor& scheme : in.schemes) header["schemes"].push_back(scheme.versioned());
  header["windows"] = in.windows;
  return header;
}

}  // namespace

po::options_description eval_options() {
  po::options_description options("options", 100);
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [] { return po::value<std::vector<std::string>>()->value_name("X"); };
  auto add = options.add_options();
  add("model", text(), "Hugging Face folder or .gguf file");
  add("task", text()->default_value("ppl"), "what is measured: ppl");
  add("data", text(), "text file, UTF-8");
  add("format", text()->default_value("text"), kTextFormatsHelp);
  add("scheme", list(), "scheme descriptor, sweeps allowed: kivi:k{2,4}v{2,4}; may be repeated");
  add("mode", list(),
      "cache modes: streamed (default), all, and with --context prefill-exact, context-exact");
  add("protocol", text()->default_value("gptq"),
      "gptq: every position is scored; llama.cpp: a BOS in front of every window, second halves");
  add("length", text(), "tokens in a window, L (default: 2048; llama.cpp's protocol: 512)");
  add("context", text(), "tokens of each window that prefill-exact and context-exact read exactly");
  add("windows", text()->default_value("all"), "number of windows, from the start");
  add("backend", text()->default_value("cpu"),
      "cpu, cuda, or cpu,cuda: both run every unit and must give the same bits");
  add("shadow", text(),
      "layers of every CUDA pass that the CPU reference computes again (default: 1; 0 beside cpu)");
  add_artifacts_option(options);
  add("out", text(), "run folder (default: runs/TIME-MODEL)");
  add("threads", text()->default_value("0"),
      "threads; 0: as many as OpenMP says; results do not depend on it");
  add("seed", text()->default_value("1"), "of the bootstrap intervals");
  add("nonfinite", text()->default_value("refuse"), "infinite or NaN K and V: refuse or propagate");
  add("kl", po::bool_switch(), "print the statistics of the divergence from fp:f32 as well");
  add("bins", text(), "print the scores by position as well, in that many bins (files: 8)");
  add("json", po::bool_switch(), "print one JSON document instead of the table");
  add("quiet", po::bool_switch(), "no progress");
  add("help", po::bool_switch(), "this text");
  return options;
}

std::string kept_artifacts(const std::string& run_folder) { return run_folder + "/artifacts"; }

Inputs read_inputs(const Options& options, const std::vector<std::string>& words,
                   const Note& note) {
  Inputs in;
  const std::string model_path = options.required("model");
  const std::string data_path = options.required("data");
  options.choice("task", kTasks);
  const std::string format = options.choice("format", kTextFormats);
  in.backends = parse_backends(options.required("backend"));
  const std::string nonfinite = options.choice("nonfinite", kNonFinite);
  in.nonfinite = nonfinite == "refuse" ? NonFinite::kRefuse : NonFinite::kPropagate;
  in.out = options.has("out") ? options.required("out") : default_folder(model_path);
  in.threads = static_cast<int>(options.integer("threads", 0, 4096));
  in.seed = static_cast<uint64_t>(options.integer("seed", 0, INT64_MAX));
  const bool cuda = in.backends.back() == kCuda;
  if (options.has("shadow")) {
    in.shadow_layers = options.integer("shadow", 0, 4096);
    if (!cuda) throw usage_error("--shadow: of --backend cuda; the cpu is the reference itself");
  } else {
    in.shadow_layers = cuda && in.backends.size() == 1 ? 1 : 0;
  }
  const bool all_windows = options.text("windows") == "all";
  if (!all_windows) in.windows = options.integer("windows", 1, INT64_MAX);
  in.artifacts = artifact_store(options, kept_artifacts(in.out));
  in.schemes = parse_schemes(options.list("scheme"), in.artifacts, note);
  in.modes = parse_ppl_modes(
      options.has("mode") ? options.list("mode") : std::vector<std::string>{"streamed"},
      options.has("context"));
  in.cut = read_cut(options, in.modes);
  if (in.cut.protocol == Protocol::kLlamaCpp && format != "text")
    throw usage_error(
        fmt::format("--format {}: protocol llama.cpp takes the bytes of the file", format));
  for (const std::string& backend : in.backends) check_backend(backend, in.schemes);

  const std::string data = read_file(data_path);
  const std::string text = format == "text" ? std::string(protocol_text(in.cut.protocol, data))
                                            : wikitext_rows_joined(data);
  in.checkpoint = model::Checkpoint::open(model_path);
  const model::ModelConfig& config = in.checkpoint->config();
  if (in.cut.length > config.max_positions)
    throw usage_error(fmt::format("--length {}: {} has {} positions", in.cut.length, model_path,
                                  config.max_positions));
  model::require_in_window(config, in.cut.length);
  check_shapes(in, config);

  const auto tokenizer = model::Tokenizer::open(model_path);
  in.cut.bos = tokenizer->adds_bos() ? tokenizer->bos() : -1;
  in.tokens = token_ids(*tokenizer, text, data_path, model_path, config.vocab);
  const int64_t count = static_cast<int64_t>(in.tokens.size());
  const int64_t available = count / in.cut.length;
  if (const int64_t least = least_windows(in.cut.protocol); available < least)
    throw environment_error(fmt::format("{}: {} tokens, fewer than {} of {}", data_path, count,
                                        least == 1 ? "one window" : "the two windows",
                                        in.cut.length));
  if (all_windows) in.windows = available;
  if (in.windows > available)
    throw usage_error(fmt::format("--windows {}: {} has {} tokens, which make {} windows of {}",
                                  in.windows, data_path, count, available, in.cut.length));

  in.header = make_header(in, *tokenizer, {model_path, data_path, format, nonfinite, data, text});
  in.header["seed"] = in.seed;
  in.header["sessions"] = Json::array({session(words, in)});
  return in;
}

}  // namespace kvx::eval
