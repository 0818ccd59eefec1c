#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "eval/cli.h"
#include "eval/files.h"
#include "eval/golden.h"
#include "eval/plan.h"
#include "eval/scheme_options.h"
#include "eval/streams.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using gen::Fill;

constexpr std::array<std::string_view, 2> kDtypes{"f16", "f32"};

constexpr const char* kHelp =
    R"(usage: kvx gen --scheme DESCRIPTOR [--scheme ...] --out FOLDER [options]

Writes golden vectors: inputs, the canonical tensors that each scheme makes of them (kvx encode
--help), and manifest.json with the generator's parameters and the SHA-256 of every file and tensor.
kvx verify judges this program, or somebody else's files, against them.

Inputs are made by the counter-based generator: a function of fill, seed, shape and dtype. Without
--fill and --shape there are eight: ordinary and heavy-tailed values, rotated keys, rounding ties,
zeros of both signs, the ends of binary16, and values that are not finite (which the scheme then
lets through); 1 to 161 tokens, head dims 64 and 128, one batch of two.

)";

std::string fill_help() {
  std::string text = "inputs of these kinds:";
  for (int i = 0; i < gen::kFills; ++i)
    text += fmt::format("{} {}", i > 0 ? "," : "", gen::fill_name(static_cast<Fill>(i)));
  return text;
}

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [] { return po::value<std::vector<std::string>>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("scheme", list(), "scheme descriptor, sweeps allowed; may be repeated");
  add("out", text(), "folder to write; must hold no manifest.json yet");
  add("mode", list(), "streamed (default), all, or both: exact windows kept or none");
  add("fill", list(), fill_help().c_str());
  add("shape", list(), "inputs of these shapes: BATCHxHEADSxTOKENSxDIM");
  add("dtype", text()->default_value("f16"), "of inputs chosen by --fill and --shape: f16 or f32");
  add("seed", text()->default_value("1"), "of the generator");
  add_artifacts_option(options);
  add("help", po::bool_switch(), "this text");
  return options;
}

constexpr int64_t kMaxValues = int64_t{1} << 28;

BatchShape parse_shape(const std::string& text) {
  std::array<int64_t, 4> dims{};
  const char* at = text.data();
  const char* end = at + text.size();
  bool good = true;
  for (size_t i = 0; i < dims.size() && good; ++i) {
    const auto [stop, error] = std::from_chars(at, end, dims[i]);
    good = error == std::errc() && dims[i] >= 1 && dims[i] <= 65536 &&
           (i == 3 ? stop == end : stop != end && *stop == 'x');
    at = stop + (i == 3 ? 0 : 1);
  }
  int64_t values = 1;  // stops above the limit: no overflow
  for (const int64_t dim : dims)
    if (good && values <= kMaxValues) values *= dim;
  if (!good || values > kMaxValues)
    throw usage_error(fmt::format(
        "--shape '{}': must be BATCHxHEADSxTOKENSxDIM, 1 to 65536 each, at most 2^28 values",
        text));
  return {dims[0], dims[1], dims[2], dims[3]};
}

std::vector<GoldenInput> standard_inputs(uint64_t seed) {
  return {{Fill::kNormal, seed, "F16", {1, 2, 1, 128}, {}},
          {Fill::kHeavy, seed, "F16", {2, 2, 33, 64}, {}},
          {Fill::kRopeKeys, seed, "F16", {1, 1, 161, 64}, {}},
          {Fill::kTies, seed, "F16", {1, 1, 40, 64}, {}},
          {Fill::kF16Ties, seed, "F32", {1, 1, 33, 64}, {}},
          {Fill::kZeros, seed, "F16", {1, 1, 33, 64}, {}},
          {Fill::kF16Extreme, seed, "F32", {1, 1, 33, 64}, {}},
          {Fill::kNonFinite, seed, "F32", {1, 1, 33, 64}, {}}};
}

std::vector<GoldenInput> chosen_inputs(const Options& options) {
  const auto seed = static_cast<uint64_t>(options.integer("seed", 0, INT64_MAX));
  const std::string dtype = options.choice("dtype", kDtypes) == "f16" ? "F16" : "F32";
  if (!options.has("fill") && !options.has("shape")) return standard_inputs(seed);
  std::vector<std::string> fills = split_commas(options.list("fill"));
  if (fills.empty()) fills = {gen::fill_name(Fill::kNormal)};
  std::vector<std::string> shapes = split_commas(options.list("shape"));
  if (shapes.empty()) shapes = {"1x2x200x128"};
  std::vector<GoldenInput> inputs;
  for (const std::string& shape : shapes) {
    for (const std::string& fill : fills) {
      const GoldenInput input{gen::parse_fill(fill), seed, dtype, parse_shape(shape), {}};
      const bool again = std::any_of(inputs.begin(), inputs.end(), [&](const GoldenInput& other) {
        return other.file() == input.file();
      });
      if (!again) inputs.push_back(input);
      if (inputs.back().fill == Fill::kRopeKeys && inputs.back().shape.head_dim % 2 != 0)
        throw usage_error(fmt::format("--shape {}: rope-keys need an even head dim", shape));
    }
  }
  return inputs;
}

// Values that binary16 cannot hold are the point of these fills.
const char* nonfinite_of(Fill fill) {
  return fill == Fill::kNonFinite || fill == Fill::kF32Extreme ? "propagate" : "refuse";
}

std::vector<std::string> modes_of(const Options& options) {
  std::vector<std::string> modes;
  for (const std::string& mode : split_commas(options.list("mode"))) {
    check_choice("--mode", mode, kWindowModes);
    if (std::find(modes.begin(), modes.end(), mode) == modes.end()) modes.push_back(mode);
  }
  return modes.empty() ? std::vector<std::string>{"streamed"} : modes;
}

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", path, error.message()));
  if (fs::exists(path + "/manifest.json"))
    throw usage_error(fmt::format("--out {}: holds a manifest.json already", path));
}

}  // namespace

int cmd_gen(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  Golden golden;
  golden.folder = options.required("out");
  ArtifactStore store = artifact_store(options);
  const std::vector<Descriptor> schemes =
      parse_schemes(options.list("scheme"), store, [](const std::string&) {});
  if (schemes.empty()) throw usage_error("--scheme is required");
  golden.inputs = chosen_inputs(options);
  const std::vector<std::string> modes = modes_of(options);
  // Every cache is made once before anything is written: a scheme may not fit a shape.
  for (const Descriptor& scheme : schemes)
    for (const GoldenInput& input : golden.inputs)
      cache_maker(store, scheme, modes.front(), "refuse")({}, input.shape);

  make_folder(golden.folder);
  for (GoldenInput& input : golden.inputs) {
    write_tensor_file(golden.path(input.file()), make_input(input), {});
    input.sha256 = TensorFile(golden.path(input.file())).sha256();
  }
  for (const Descriptor& scheme : schemes) {
    store.save(scheme, golden.folder);
    for (const std::string& mode : modes) {
      for (size_t i = 0; i < golden.inputs.size(); ++i) {
        const GoldenInput& input = golden.inputs[i];
        GoldenCase one;
        one.name = fmt::format("{}.{}.{}", file_stem(scheme.str()), mode, input.stem());
        one.scheme = scheme.versioned();
        one.mode = mode;
        one.nonfinite = nonfinite_of(input.fill);
        one.input = i;
        const TensorMap tensors =
            make_case(one, TensorFile(golden.path(input.file())), scheme, store);
        for (const auto& [name, tensor] : tensors) one.tensors[name] = described(tensor);
        write_tensor_file(golden.path(one.file()), tensors,
                          {{"format", kCanonicalFormat}, {"scheme", one.scheme}, {"mode", mode}});
        one.sha256 = TensorFile(golden.path(one.file())).sha256();
        golden.cases.push_back(std::move(one));
      }
    }
  }
  write_manifest(golden);
  tell(fmt::format("kvx: {} cases of {} inputs in {}\n", golden.cases.size(), golden.inputs.size(),
                   golden.folder));
  return 0;
}

}  // namespace kvx::eval
