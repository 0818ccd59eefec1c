#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <set>

#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/model_text.h"
#include "eval/scheme_options.h"
#include "eval/streams.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 2> kDtypes{"f32", "f16"};

constexpr const char* kHelp =
    R"(usage: kvx capture --model PATH --data FILE --layers LIST --out FILE [options]

Runs the first tokens of a text through a model in one pass and writes what attention of the chosen
layers gets, as safetensors that kvx encode reads:
      layers.N.q, layers.N.k            after rotation, [1, heads, tokens, head dim]
      layers.N.q.pre, layers.N.k.pre    before it
      layers.N.v
      tokens                            their ids, I32 [1, tokens]
Heads and channels are in Hugging Face's order (rotate-half). Attention reads K and V as computed,
unless --scheme is given.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  add_model_text_options(options);
  auto add = options.add_options();
  add("layers", text(), "layers from 0: 0,15 or 0-3,8 or all");
  add("out", text(), "safetensors file to write");
  add("dtype", text()->default_value("f32"), "f32, or f16: rounded to nearest even");
  add("scheme", text()->default_value("fp:f32"), "what the model's attention reads");
  add_cache_options(options);
  add("help", po::bool_switch(), "this text");
  return options;
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

// "0,15", "0-3,8", "all".
std::set<int> parse_layers(const std::string& text, int64_t layers) {
  std::set<int> chosen;
  const auto add = [&](int64_t first, int64_t last) {
    for (int64_t layer = first; layer <= last; ++layer) chosen.insert(static_cast<int>(layer));
  };
  for (const std::string& part : split_commas({text})) {
    if (part == "all") {
      add(0, layers - 1);
      continue;
    }
    const size_t dash = part.find('-');
    const auto first = whole_number(std::string_view(part).substr(0, dash));
    const auto last =
        dash == std::string::npos ? first : whole_number(std::string_view(part).substr(dash + 1));
    if (!first || !last || *first > *last)
      throw usage_error(fmt::format(
          "--layers '{}': '{}' is not a layer, a range such as 0-3, or all", text, part));
    if (*last >= layers)
      throw usage_error(fmt::format("--layers '{}': the model has layers 0 to {}, not {}", text,
                                    layers - 1, *last));
    add(*first, *last);
  }
  return chosen;
}

// [tokens][heads][head dim] to [1, heads, tokens, head dim].
Tensor stored(const ConstRows& rows, bool f16) {
  const auto dim = static_cast<size_t>(rows.dim);
  const size_t row_bytes = dim * (f16 ? 2 : 4);
  Tensor out{f16 ? "F16" : "F32", {1, rows.heads, rows.tokens, rows.dim}, {}};
  out.bytes.resize(static_cast<size_t>(rows.heads) * static_cast<size_t>(rows.tokens) * row_bytes);
  std::vector<uint16_t> bits(dim);
  std::byte* next = out.bytes.data();
  for (int head = 0; head < rows.heads; ++head) {
    for (int64_t token = 0; token < rows.tokens; ++token, next += row_bytes) {
      const std::span<const float> row(rows.row(token, head), dim);
      if (f16) num::f16_encode(row, bits);
      std::memcpy(next, f16 ? static_cast<const void*>(bits.data()) : row.data(), row_bytes);
    }
  }
  return out;
}

}  // namespace

int cmd_capture(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string out = options.required("out"), layers = options.required("layers");
  const bool f16 = options.choice("dtype", kDtypes) == "f16";
  const std::string mode = options.has("mode") ? options.choice("mode", kWindowModes) : "streamed";
  const std::string nonfinite = options.choice("nonfinite", kNonFiniteChoices);
  ArtifactStore store = artifact_store(options);
  const Descriptor scheme = store.parse(options.required("scheme"));
  const ModelText in = read_model_text(options);
  const model::ModelConfig& config = in.checkpoint->config();
  const std::set<int> chosen = parse_layers(layers, config.layers);

  TensorMap all;
  const auto ids = std::as_bytes(std::span(in.tokens));
  all["tokens"] = {"I32", {1, static_cast<int64_t>(in.tokens.size())}, {ids.begin(), ids.end()}};
  run_through(in, store.factory(scheme),
              mode == "all" ? model::CacheMode::kAll : model::CacheMode::kStreamed,
              nonfinite == "refuse" ? NonFinite::kRefuse : NonFinite::kPropagate,
              [&](const model::LayerTap& tap) {
                if (chosen.count(tap.layer) == 0) return;
                const std::string prefix = fmt::format("layers.{}.", tap.layer);
                all[prefix + "q"] = stored(tap.q, f16);
                all[prefix + "k"] = stored(tap.k, f16);
                all[prefix + "v"] = stored(tap.v, f16);
                all[prefix + "q.pre"] = stored(tap.q_pre, f16);
                all[prefix + "k.pre"] = stored(tap.k_pre, f16);
              });
  Metadata metadata = in.identity;
  metadata.insert({{"format", "kvx-capture/1"},
                   {"scheme", scheme.versioned()},
                   {"mode", mode},
                   {"program", fmt::format("kvx {}", build_info().version)}});
  write_tensor_file(out, all, metadata);
  tell(fmt::format("kvx: {} layers of {} tokens in {}\n", chosen.size(), in.tokens.size(), out));
  return 0;
}

}  // namespace kvx::eval
