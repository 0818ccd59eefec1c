#include <fmt/core.h>

#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/scheme_options.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx encode --scheme DESCRIPTOR --in FILE --out FILE [options]

Runs K and V of a safetensors file through a scheme and writes what it stores, as safetensors.

In:   k, v  F32, F16 or BF16 [batch, kv heads, tokens, head dim], or layers.N.k, layers.N.v for any
      number of layers (what kvx capture writes); keys after rotation, but for a scheme that stores
      keys before it: then k.pre, or k where there is no k.pre. Other tensors are ignored.
Out, for k and v each, with the same prefix:
      codes    U8 [batch, kv heads, tokens, head dim]; signed codes as their low bits; unsealed 0
      scale,   in their stored type, complete groups only: groups along tokens [batch, kv heads,
      zero     tokens / g, head dim], along channels [batch, kv heads, tokens, head dim / g];
               unsealed groups 0; a static scale [batch, 1] or [batch, kv heads]
      decoded  F32, what a read returns
      sealed   U8 [batch, kv heads, tokens], 1 or 0
      packed   the official words, where a scheme has an official layout
      lo, hi, codebook, qnorm, outlier.start, outlier.index, outlier.value, decoded_fp32
               of kvquant (ref/kvquant.md)
A scheme writes those of them that it has.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("scheme", text(), "scheme descriptor");
  add("in", text(), "safetensors file with k and v");
  add("out", text(), "safetensors file to write");
  add_cache_options(options);
  add_artifact_option(options);
  add("help", po::bool_switch(), "this text");
  return options;
}

// The keys in the key space of the scheme.
std::string key_name(const TensorFile& file, const std::string& prefix, const Traits& traits) {
  const std::string before = prefix + "k.pre";
  return traits.keys == KeySpace::kPreRope && file.find(before) != nullptr ? before : prefix + "k";
}

}  // namespace

int cmd_encode(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string in = options.required("in"), out = options.required("out");
  const std::string mode = options.has("mode") ? options.choice("mode", kWindowModes) : "streamed";
  const std::string nonfinite = options.choice("nonfinite", kNonFiniteChoices);
  ArtifactStore store = artifact_store(options);
  const Descriptor scheme = scheme_with_artifact(options.required("scheme"), options, store);
  const TensorFile file(in);
  check_not_the_same(in, out);
  const CacheMaker make = cache_maker(store, scheme, mode, nonfinite);

  TensorMap all;
  for (const LayerName& layer : find_layers(file, "k")) {
    const std::string v_name = layer.prefix + "v";
    const BatchShape shape = batch_shape(file, layer.prefix + "k");
    const std::string k_name = key_name(file, layer.prefix, make(layer, shape)->traits());
    batch_shape(file, k_name);
    batch_shape(file, v_name);
    const ArtifactTensor &k = *file.find(k_name), &v = *file.find(v_name);
    if (k.shape != v.shape)
      throw environment_error(fmt::format("{}: tensor '{}' is {}, but '{}' is {}", in, v_name,
                                          type_text(v.dtype, v.shape), k_name,
                                          type_text(k.dtype, k.shape)));
    try {
      all.merge(encode_layer(make, layer, shape, widened(k, k_name), widened(v, v_name)));
    } catch (const Error& error) {
      throw Error(error.exit(), fmt::format("{}: {}", in, error.what()));
    }
  }
  write_tensor_file(out, all,
                    {{"format", kCanonicalFormat},
                     {"scheme", scheme.versioned()},
                     {"mode", mode},
                     {"input_sha256", file.sha256()},
                     {"program", fmt::format("kvx {}", build_info().version)}});
  return 0;
}

}  // namespace kvx::eval
