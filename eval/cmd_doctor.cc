#include <fmt/core.h>
#include <immintrin.h>
#include <omp.h>

#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/number.h"
#include "eval/options.h"
#include "gpu/registry.h"
#include "sim/api/schema.h"
#include "sim/model/checkpoint.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

std::string mxcsr_text() {
  static constexpr const char* kRounding[] = {"nearest even", "down", "up", "toward zero"};
  const unsigned state = _mm_getcsr();
  return fmt::format("rounding {}, flush to zero {}, denormals are zero {} (MXCSR {:#06x})",
                     kRounding[(state >> 13) & 3], (state & 0x8000) != 0 ? "on" : "off",
                     (state & 0x0040) != 0 ? "on" : "off", state);
}

// Schemes with CUDA kernels in this program, whether there is a device or not.
std::string cuda_schemes() {
  std::string names;
  for (const SchemeSchema& scheme : schemes())
    if (gpu::has_kernel(scheme.name))
      names += fmt::format("{}{}", names.empty() ? "" : " ", scheme.name);
  return names.empty() ? "none" : names;
}

Json machine() {
  const BuildInfo& build = build_info();
  const HostInfo host = host_info();
  Json json;
  json["program"] = fmt::format("kvx {}", build.version);
  json["compiler"] = build.compiler;
  json["flags"] = build.flags;
  json["host"] = host.name;
  json["cpu"] = host.cpu;
  json["kernels"] = host.isa;
  json["threads"] = omp_get_max_threads();
  json["arithmetic"] = mxcsr_text();
  json["cuda"] = gpu::device_report();
  json["cuda_schemes"] = cuda_schemes();
  for (const auto& [name, version] : build.libraries) json["libraries"][name] = version;
  return json;
}

Json examine(const std::string& path) {
  const auto checkpoint = model::Checkpoint::open(path);
  const auto tokenizer = model::Tokenizer::open(path);
  const model::ModelConfig& config = checkpoint->config();
  return {{"path", path},
          {"sha256", checkpoint->sha256()},
          {"architecture", config.architecture},
          {"layers", config.layers},
          {"hidden", config.hidden},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"ffn", config.ffn},
          {"vocab", config.vocab},
          {"max_positions", config.max_positions},
          {"rms_eps", static_cast<double>(config.rms_eps)},
          {"rope_theta", config.rope_theta},
          {"tied", config.tied},
          {"tokenizer", tokenizer->kind()},
          {"tokenizer_sha256", tokenizer->sha256()},
          {"tokenizer_ids", tokenizer->vocab_size()},
          {"bos", tokenizer->bos()},
          {"eos", tokenizer->eos()},
          {"adds_bos", tokenizer->adds_bos()}};
}

std::string as_lines(const Json& json, const std::string& prefix) {
  std::string text;
  for (const auto& [name, value] : json.items()) {
    if (value.is_object()) {
      text += as_lines(value, prefix + name + " ");
    } else {
      const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
      for (size_t begin = 0, end; begin <= shown.size(); begin = end + 1) {
        end = std::min(shown.find('\n', begin), shown.size());
        text += fmt::format("{:24} {}\n", begin == 0 ? prefix + name : "",
                            shown.substr(begin, end - begin));
      }
    }
  }
  return text;
}

}  // namespace

int cmd_doctor(const std::vector<std::string>& words) {
  po::options_description visible("options", 100);
  auto add = visible.add_options();
  add("model", po::value<std::string>()->value_name("PATH"), "open this model as well");
  add("json", po::bool_switch(), "print JSON");
  add("help", po::bool_switch(), "this text");
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(
        "usage: kvx doctor [--model PATH] [--json]\n\n"
        "This machine and this build, ready to paste into a report.\n\n",
        visible);
    return 0;
  }
  Json json = machine();
  if (options.has("model")) json["model"] = examine(options.required("model"));
  if (options.flag("json")) {
    fmt::print("{}\n", json_text(json, 2));
  } else {
    fmt::print("{}", as_lines(json, ""));
  }
  return 0;
}

}  // namespace kvx::eval
