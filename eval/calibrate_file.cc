#include "eval/calibrate_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "eval/artifacts.h"
#include "eval/backend.h"
#include "ref/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

// The key of the descriptor that names what is written here.
std::string made_key(const Descriptor& scheme) {
  const KeySpec* const key = artifact_key(scheme.schema());
  if (key == nullptr) throw std::logic_error("a calibrated scheme has a key for its artifact");
  if (!scheme.get_word(key->name).empty())
    throw usage_error(fmt::format("--scheme {}: {} is what kvx calibrate makes; leave it out",
                                  scheme.str(), key->name));
  return std::string(key->name);
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

po::options_description calibrate_options() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("scheme", text(), "scheme descriptor without the artifact: kvquant:nuq3,o0.01");
  add_model_text_options(options);
  add("samples", text(), "windows from the start of the text (default: 16, or as many as it has)");
  add("length", text()->default_value("2048"), "tokens of a window, cut to the model's positions");
  add("backend", text()->default_value("cpu"), "cpu or cuda: what runs the model; files are equal");
  add("out", text(), "safetensors file to write");
  add("help", po::bool_switch(), "this text");
  return options;
}

CalibrationInputs for_scheme(CalibrationInputs in, const Descriptor& scheme) {
  ref::make_calibrator(scheme);
  in.key = made_key(scheme);
  in.scheme = scheme;
  in.metadata["scheme"] = scheme.versioned();
  return in;
}

CalibrationInputs read_calibration(const Options& options) {
  CalibrationInputs in = for_scheme({}, Descriptor::parse(options.required("scheme")));
  in.length = options.integer("length", 1, int64_t{1} << 24);
  in.backend = options.choice("backend", std::array<std::string_view, 2>{kCpu, kCuda});
  in.text = std::make_shared<const ModelText>(read_windows(options, in.length));
  in.metadata.insert(in.text->identity.begin(), in.text->identity.end());
  in.metadata.insert({{"format", "kvx-calibration/1"}, {"length", fmt::format("{}", in.length)}});
  return in;
}

CalibrationFile write_calibration(const Calibrator& calibrator, const Metadata& metadata,
                                  const std::string& path) {
  TensorMap all;
  calibrator.export_to([&](const std::string& name, const std::string& dtype,
                           const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
    all[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
  });
  write_tensor_file(path, all, metadata);
  return {ArtifactStore().add(path), all.size()};
}

std::string calibrated_descriptor(const CalibrationInputs& in, const std::string& sha256) {
  return fmt::format("{},{}={}", in.scheme.str(), in.key, artifact_reference(sha256));
}

}  // namespace kvx::eval
