#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/scheme_options.h"
#include "eval/streams.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx decode --in FILE --out FILE [--scheme DESCRIPTOR] [options]

Decodes canonical tensors (kvx encode --help says which), whoever wrote them, to k and v: F32
[batch, kv heads, tokens, head dim], names with the prefix of the file. Sealed tokens are decoded
from codes, scale and zero; `decoded` is read for exact tokens, and for schemes without codes.
Scheme and mode are those that the file's metadata names unless they are given.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("scheme", text(), "scheme descriptor; default: the file's");
  add("in", text(), "safetensors file with canonical tensors");
  add("out", text(), "safetensors file to write");
  add("mode", text(),
      "streamed or all: which tokens are exact; default: the file's, else streamed");
  add_artifacts_option(options);
  add_artifact_option(options);
  add("help", po::bool_switch(), "this text");
  return options;
}

std::string metadata_of(const TensorFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

Descriptor scheme_of(const Options& options, const TensorFile& file, ArtifactStore& store) {
  const std::string own = metadata_of(file, "scheme");
  if (!options.has("scheme")) {
    if (own.empty())
      throw usage_error(
          fmt::format("--scheme is required: {} has no metadata 'scheme'", file.source()));
    try {
      return scheme_with_artifact(own, options, store);
    } catch (const Error& error) {
      throw environment_error(
          fmt::format("{}: metadata 'scheme': {}", file.source(), error.what()));
    }
  }
  const Descriptor scheme = scheme_with_artifact(options.required("scheme"), options, store);
  if (!own.empty() && own != scheme.versioned())
    throw usage_error(
        fmt::format("--scheme {}: {} was written with {}", scheme.versioned(), file.source(), own));
  return scheme;
}

std::string mode_of(const Options& options, const TensorFile& file) {
  if (options.has("mode")) return options.choice("mode", kWindowModes);
  const std::string own = metadata_of(file, "mode");
  if (own.empty()) return "streamed";
  if (own != "streamed" && own != "all")
    throw environment_error(fmt::format("{}: metadata 'mode' is {}, not streamed or all",
                                        file.source(), model::printable(own)));
  return own;
}

// People's text where the file's own `decoded` is something else.
void compare_decoded(const TensorFile& file, const TensorMap& decoded) {
  for (const auto& [name, tensor] : decoded) {
    const ArtifactTensor* own = file.find(name + ".decoded");
    if (own == nullptr || own->dtype != "F32" || own->shape != tensor.shape) continue;
    size_t differing = 0;
    for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
      float theirs, ours;
      std::memcpy(&theirs, &own->bytes[at], sizeof theirs);
      std::memcpy(&ours, &tensor.bytes[at], sizeof ours);
      const bool same = std::memcmp(&theirs, &ours, sizeof ours) == 0;
      if (!same && !(std::isnan(theirs) && std::isnan(ours))) ++differing;
    }
    if (differing > 0)
      tell(fmt::format("kvx: {}: {} values of '{}.decoded' are not what the codes decode to\n",
                       file.source(), differing, name));
  }
}

}  // namespace

int cmd_decode(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string in = options.required("in"), out = options.required("out");
  ArtifactStore store = artifact_store(options);
  const TensorFile file(in);
  check_not_the_same(in, out);
  const Descriptor scheme = scheme_of(options, file, store);
  const std::string mode = mode_of(options, file);
  const CacheMaker make = cache_maker(store, scheme, mode, "propagate");
  TensorMap all;
  for (const LayerName& layer : find_layers(file, "k.sealed"))
    all.merge(decode_layer(make, layer, file));
  compare_decoded(file, all);
  write_tensor_file(out, all,
                    {{"scheme", scheme.versioned()},
                     {"mode", mode},
                     {"input_sha256", file.sha256()},
                     {"program", fmt::format("kvx {}", build_info().version)}});
  return 0;
}

}  // namespace kvx::eval
