#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>

#include "eval/artifacts.h"
#include "eval/calibration.h"
#include "eval/cli.h"
#include "eval/model_text.h"
#include "eval/streams.h"
#include "ref/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx calibrate --scheme DESCRIPTOR --model PATH --data PATH --out FILE [options]

Runs windows of a text through a model exactly and writes what a calibrated scheme learns from its K
and V, as safetensors. Prints the descriptor that names the result by its hash. The text is cut into
windows of --length tokens, each a sequence of its own. Equal input gives an equal file.
fp8 with scale=tensor or scale=head: layers.N.k.scale and layers.N.v.scale, F32 [1] or [kv heads]:
the greatest magnitude (keys after rotation; rounded to fp16) over 448 (e4m3) or 57344 (e5m2).
kvquant: ranges of channels, layers.N.k.lo and .hi, and for nuq codebooks and Q-Norm, weighted by
squared gradients of the loss, from a backward pass through the model.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("scheme", text(), "scheme descriptor without the artifact: kvquant:nuq3,o0.01");
  add_model_text_options(options);
  add("samples", text(), "windows from the start of the text (default: 16, or as many as it has)");
  add("length", text()->default_value("2048"), "tokens of a window, cut to the model's positions");
  add("out", text(), "safetensors file to write");
  add("help", po::bool_switch(), "this text");
  return options;
}

// The key of the descriptor that names what is written here.
std::string artifact_key(const Descriptor& scheme) {
  for (const KeySpec& key : scheme.schema().keys) {
    if (key.kind != KeyKind::kArtifact) continue;
    if (const std::string value = scheme.get_word(key.name); !value.empty())
      throw usage_error(fmt::format("--scheme {}: {} is what kvx calibrate makes; leave it out",
                                    scheme.str(), key.name));
    return std::string(key.name);
  }
  throw std::logic_error("a calibrated scheme has a key for its artifact");
}

// The tokens of --samples windows; cuts `length` to the model's positions.
ModelText read_windows(const Options& options, int64_t& length) {
  const int64_t samples = options.has("samples") ? options.integer("samples", 1, 1 << 20) : 16;
  ModelText in = read_model_text(options, INT64_MAX, samples * length);
  length = std::min(length, in.checkpoint->config().max_positions);
  const int64_t count = std::ssize(in.tokens);
  if (options.has("samples") && count < samples * length)
    throw usage_error(
        fmt::format("--samples {}: the text has {} tokens, which make {} windows of {}", samples,
                    count, count / length, length));
  in.tokens.resize(static_cast<size_t>(std::min(count, samples * length)));
  in.identity["tokens"] = fmt::format("{}", in.tokens.size());
  return in;
}

}  // namespace

int cmd_calibrate(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string out = options.required("out");
  const Descriptor scheme = Descriptor::parse(options.required("scheme"));
  const auto calibrator = ref::make_calibrator(scheme);
  const std::string key = artifact_key(scheme);
  int64_t length = options.integer("length", 1, int64_t{1} << 24);
  const ModelText in = read_windows(options, length);
  const CalibrationTime time = calibrate(in, length, *calibrator);
  TensorMap all;
  calibrator->export_to([&](const std::string& name, const std::string& dtype,
                            const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
    all[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
  });
  Metadata metadata = in.identity;
  metadata.insert({{"format", "kvx-calibration/1"},
                   {"scheme", scheme.versioned()},
                   {"length", fmt::format("{}", length)}});
  write_tensor_file(out, all, metadata);
  const std::string hash = ArtifactStore().add(out);
  print(fmt::format("{},{}=#{}\n", scheme.str(), key, hash.substr(0, kArtifactDigits)));
  tell(fmt::format(
      "kvx: {} tensors from {} tokens in {}, SHA-256 {}\nkvx: {} windows {:.1f} s, fit {:.1f} s\n",
      all.size(), in.tokens.size(), out, hash, time.windows, time.window_seconds,
      time.fit_seconds));
  return 0;
}

}  // namespace kvx::eval
