#include "eval/bench/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "eval/backend.h"
#include "eval/bench/random_model.h"
#include "eval/bench/record.h"
#include "eval/plan.h"
#include "eval/scheme_options.h"
#include "gpu/registry.h"
#include "sim/api/error.h"
#include "sim/num/rope.h"

namespace kvx::bench {
namespace {

namespace po = boost::program_options;
using eval::Options;

constexpr std::array<std::string_view, 2> kBackends{"cuda", "cpu"};
constexpr std::array<std::string_view, 2> kArithmetics{"ieee", "fixed"};
constexpr std::array<std::string_view, 4> kWhat{"encode", "append", "attend", "step"};
constexpr int64_t kMostTokens = int64_t{1} << 24, kMostSequences = 4096, kMostShapes = 1000;
constexpr double kRopeTheta = 10000;

int64_t integer(std::string_view option, std::string_view text, int64_t least, int64_t most) {
  int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number < least || number > most)
    throw usage_error(
        fmt::format("--{} '{}': must be an integer from {} to {}", option, text, least, most));
  return number;
}

// Values of a list option, each once.
std::vector<std::string> values_of(const Options& options, const char* name) {
  std::vector<std::string> values;
  for (const std::string& value : eval::split_commas(options.list(name)))
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  return values;
}

std::vector<int64_t> integers_of(const Options& options, const char* name, int64_t most) {
  std::vector<int64_t> numbers;
  for (const std::string& value : values_of(options, name))
    numbers.push_back(integer(name, value, 1, most));
  return numbers;
}

struct Heads {
  int q, kv;
};
Heads parse_heads(const std::string& text) {
  constexpr int64_t kMost = 1024;
  const size_t slash = text.find('/');
  if (slash == std::string::npos)
    throw usage_error(fmt::format("--heads '{}': must be query heads/KV heads, as 32/8", text));
  const int64_t q = integer("heads", std::string_view(text).substr(0, slash), 1, kMost);
  const int64_t kv = integer("heads", std::string_view(text).substr(slash + 1), 1, kMost);
  if (q % kv != 0)
    throw usage_error(
        fmt::format("--heads '{}': {} query heads are no multiple of {} KV heads", text, q, kv));
  return {static_cast<int>(q), static_cast<int>(kv)};
}

std::vector<BenchShape> parse_shapes(const Options& options, const std::vector<Heads>& all_heads,
                                     const std::vector<int64_t>& dims) {
  std::vector<BenchShape> shapes;
  for (const auto& [q, kv] : all_heads)
    for (const int64_t dim : dims)
      for (const int64_t sequences : integers_of(options, "batch", kMostSequences))
        for (const int64_t tokens : integers_of(options, "tokens", kMostTokens))
          for (const int64_t queries : integers_of(options, "queries", 8))
            shapes.push_back({.q_heads = q,
                              .kv_heads = kv,
                              .head_dim = static_cast<int>(dim),
                              .sequences = sequences,
                              .tokens = tokens,
                              .queries = queries});
  if (std::ssize(shapes) > kMostShapes)
    throw usage_error(fmt::format("{} shapes asked for, at most {}", shapes.size(), kMostShapes));
  return shapes;
}

std::vector<BenchOp> parse_ops(const Options& options) {
  std::vector<BenchOp> ops;
  for (const std::string& name : values_of(options, "what")) {
    eval::check_choice("--what", name, kWhat);
    ops.push_back(*find_op(name));
    if (ops.back() == BenchOp::kAppend) ops.push_back(BenchOp::kSeal);
  }
  std::sort(ops.begin(), ops.end());
  return ops;
}

std::vector<Arithmetic> parse_arithmetics(const Options& options) {
  std::vector<Arithmetic> all;
  for (const std::string& name : values_of(options, "arithmetic")) {
    eval::check_choice("--arithmetic", name, kArithmetics);
    all.push_back(name == "fixed" ? Arithmetic::kFixed : Arithmetic::kIeee);
  }
  return all;
}

void read_model(const Options& options, Plan& plan) {
  for (const char* name : {"heads", "dim", "queries", "what"})
    if (options.given(name))
      throw usage_error(fmt::format("--{}: of a layer alone, not of --model", name));
  plan.model = options.required("model");
  plan.checkpoint = plan.model.starts_with(kRandomPrefix) ? random_checkpoint(plan.model)
                                                          : model::Checkpoint::open(plan.model);
  plan.ops = {BenchOp::kDecode};
  const model::ModelConfig& config = plan.checkpoint->config();
  plan.shapes =
      parse_shapes(options, {{static_cast<int>(config.heads), static_cast<int>(config.kv_heads)}},
                   {config.head_dim});
}

void check_backend(const Plan& plan) {
  if (const std::string reason = eval::backend_unavailable(plan.backend); !reason.empty())
    throw environment_error(fmt::format("--backend {}: {}", plan.backend, reason));
  if (plan.backend == eval::kCpu) return;
  for (const Subject& subject : plan.subjects)
    if (const std::string_view name = subject.scheme.name(); !gpu::has_kernel(name))
      throw environment_error(
          fmt::format("--backend {}: no CUDA kernels for scheme {}", plan.backend, name));
}

std::vector<Subject> subjects_of(const Plan& plan, const std::vector<Descriptor>& schemes,
                                 const std::vector<Arithmetic>& arithmetics,
                                 const eval::Note& note) {
  std::vector<Subject> subjects;
  for (const Descriptor& scheme : schemes) {
    const size_t before = subjects.size();
    std::vector<Error> refused;
    for (const Arithmetic arithmetic : arithmetics) {
      try {
        for (const BenchShape& shape : plan.shapes)
          plan.artifacts.factory(scheme)(config_of(plan, shape, arithmetic));
        subjects.push_back({scheme, arithmetic});
      } catch (const Error& error) {
        if (error.exit() != Exit::kUsage) throw;
        refused.push_back(error);
      }
    }
    if (subjects.size() == before) throw refused.front();
    for (const Error& error : refused) note(fmt::format("left out: {}", error.what()));
  }
  return subjects;
}

}  // namespace

CacheConfig config_of(const Plan& plan, const BenchShape& shape, Arithmetic arithmetic) {
  return {.shape = {.layer = 0, .kv_heads = shape.kv_heads, .head_dim = shape.head_dim},
          .arithmetic = arithmetic,
          .artifacts = plan.artifacts.artifacts(),
          .rope_steps = shape.head_dim % 2 == 0 ? num::rope_steps(shape.head_dim, kRopeTheta, {})
                                                : std::vector<uint64_t>()};
}

void add_plan_options(po::options_description& options) {
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  const auto list = [](const char* name, const char* value) {
    return po::value<std::vector<std::string>>()->value_name(name)->default_value({value}, value);
  };
  auto add = options.add_options();
  add("scheme", po::value<std::vector<std::string>>()->value_name("X"),
      "scheme descriptor, sweeps allowed: kivi:k{2,4}v{2,4}; may be repeated");
  add("heads", list("Q/KV", "32/8"), "query heads and KV heads");
  add("dim", list("N", "128"), "channels of a head");
  add("batch", list("N", "1"), "sequences");
  add("tokens", list("N", "4096"), "tokens of every sequence before a step");
  add("queries", list("N", "1"), "tokens that a step adds to every sequence, 1 to 8");
  add("arithmetic", list("X", "ieee"), "of attention: ieee, fixed");
  add("model", text("X"),
      "time greedy decode steps of this model instead: a path, random:llama-8b or "
      "random:qwen-1.5b");
  add("backend", text("X")->default_value("cuda"), "cuda, or cpu: the reference on one thread");
  add("what",
      po::value<std::vector<std::string>>()->value_name("X")->default_value(
          {"encode,append,attend,step"}, "encode,append,attend,step"),
      "what is timed; append adds the append that seals, of schemes that seal several tokens");
  add("samples", text("N")->default_value("30"), "of which median, p10 and p90 are taken");
  eval::add_artifacts_option(options);
}

Plan read_plan(const Options& options, const eval::Note& note) {
  Plan plan;
  plan.backend = options.choice("backend", kBackends);
  plan.samples = static_cast<int>(options.integer("samples", kLeastSamples, 100000));
  if (options.has("model")) {
    read_model(options, plan);
  } else {
    plan.ops = parse_ops(options);
    std::vector<Heads> all_heads;
    for (const std::string& heads : values_of(options, "heads"))
      all_heads.push_back(parse_heads(heads));
    plan.shapes = parse_shapes(options, all_heads, integers_of(options, "dim", 1024));
  }
  plan.artifacts = eval::artifact_store(options);
  const auto schemes = eval::parse_schemes(options.list("scheme"), plan.artifacts, note);
  if (schemes.empty()) throw usage_error("--scheme is required");
  plan.subjects = subjects_of(plan, schemes, parse_arithmetics(options), note);
  check_backend(plan);
  return plan;
}

}  // namespace kvx::bench
