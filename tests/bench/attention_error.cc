// Rounding errors of attention on captured activations: `ieee`, `fixed` and kernels with binary16
// operands beside binary64, all over the same codes (tests/support/attention_error.h). Cache mode
// `all`, queries of the last positions of the window.
//
//   kvx capture --model M --data TEXT --tokens 2048 --layers all --out qkv.safetensors
//   bench_attention_error --in qkv.safetensors --scheme int:k4v4 --scheme kivi:k2v2
#include "tests/support/attention_error.h"

#include <fmt/core.h>

#include <cstring>

#include "eval/canonical.h"
#include "eval/files.h"
#include "eval/options.h"
#include "eval/text_table.h"
#include "sim/api/error.h"

namespace kvx {
namespace {

namespace po = boost::program_options;

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = po::value<std::vector<std::string>>()->value_name("X");
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("in", text(), "what kvx capture wrote (f32)");
  add("scheme", list, "descriptor of a scheme that has the arithmetic fixed; repeatable");
  add("queries", text()->default_value("64"), "last positions");
  add("by-layer", text(), "file for the errors layer by layer, tab-separated");
  add("outputs", text(), "safetensors file for the outputs, of one scheme");
  add("help", po::bool_switch(), "this text");
  return options;
}

// Tensor NAME of the file, [1, heads, tokens, dim].
struct Captured {
  Captured(const eval::TensorFile& file, const std::string& name)
      : shape(eval::batch_shape(file, name)), values(eval::widened(*file.find(name), name)) {
    if (shape.batch != 1)
      throw environment_error(fmt::format("{}: tensor '{}' is a batch of {}, expected 1",
                                          file.source(), name, shape.batch));
  }
  // The last `count` tokens.
  ConstRows last(int64_t count) const {
    const ConstRows all{values.data(),
                        shape.tokens,
                        static_cast<int>(shape.kv_heads),
                        static_cast<int>(shape.head_dim),
                        shape.head_dim,
                        shape.tokens * shape.head_dim};
    return all.slice(shape.tokens - count, count);
  }

  eval::BatchShape shape;
  std::vector<float> values;
};

struct Layer {
  Layer(const eval::TensorFile& file, const std::string& prefix)
      : q(file, prefix + "q"), k(file, prefix + "k"), v(file, prefix + "v") {
    const auto fits = [&](const Captured& x) {
      return x.shape.tokens == k.shape.tokens && x.shape.head_dim == k.shape.head_dim;
    };
    if (!fits(q) || !fits(v) || v.shape.kv_heads != k.shape.kv_heads ||
        q.shape.kv_heads % k.shape.kv_heads != 0)
      throw environment_error(fmt::format("{}: shapes of '{}q', '{}k' and '{}v' do not fit",
                                          file.source(), prefix, prefix, prefix));
  }
  Captured q, k, v;
};

template <class T>
eval::Tensor stored(const test::AttentionOutputs& outputs, const std::vector<T>& values) {
  eval::Tensor tensor{sizeof(T) == 8 ? "F64" : "F32",
                      {1, outputs.heads, outputs.queries, outputs.dim},
                      std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

// Of one scheme.
struct Errors {
  test::HeadErrors all;
  std::vector<std::array<double, test::kRoundings.size()>> heads;  // rms of every layer and head

  void add(const std::vector<test::HeadErrors>& layer) {
    for (const test::HeadErrors& head : layer) {
      for (size_t i = 0; i < all.size(); ++i) all[i].add(head[i]);
      auto& rms = heads.emplace_back();
      std::ranges::transform(head, rms.begin(), &test::OutputError::rms);
    }
  }
  double median(size_t rounding) const {
    std::vector<double> values;
    for (const auto& head : heads) values.push_back(head[rounding]);
    std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
    return values[values.size() / 2];
  }
  // Layers and heads in which the rms error is below that of binary16 operands.
  int64_t below_fp16(size_t rounding) const {
    return std::ranges::count_if(heads, [&](const auto& head) {
      return head[rounding] < head[static_cast<size_t>(test::Rounding::kFp16)];
    });
  }
};

std::string by_layer_head() {
  std::string text = "scheme\tlayer";
  for (const char* name : test::kRoundings) text += fmt::format("\t{} rms\t{} worst", name, name);
  return text + "\n";
}

std::string by_layer_line(const std::string& scheme, int layer,
                          const std::vector<test::HeadErrors>& heads) {
  std::string text = fmt::format("{}\t{}", scheme, layer);
  test::HeadErrors sum;
  for (size_t i = 0; i < sum.size(); ++i) {
    for (const test::HeadErrors& head : heads) sum[i].add(head[i]);
    text += fmt::format("\t{:.3e}\t{:.3e}", sum[i].rms(), sum[i].worst());
  }
  return text + "\n";
}

int run(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const eval::Options options(visible, words);
  if (options.flag("help")) {
    eval::print_help("usage: bench_attention_error --in FILE --scheme X [options]\n\n", visible);
    return 0;
  }
  const eval::TensorFile file(options.required("in"));
  const std::vector<std::string> schemes = options.list("scheme");
  if (schemes.empty()) throw usage_error("--scheme is missing");
  if (options.has("outputs") && schemes.size() != 1)
    throw usage_error("--outputs takes one --scheme");
  const int64_t most = options.integer("queries", 1, INT64_MAX);

  std::string by_layer = by_layer_head();
  eval::TensorMap tensors;
  std::vector<std::vector<std::string>> table{
      {"scheme", "arithmetic", "rms", "median head", "worst", "of fixed's rms", "below fp16"}};
  for (const std::string& text : schemes) {
    const Descriptor scheme = Descriptor::parse(text);
    Errors errors;
    for (const eval::LayerName& name : eval::find_layers(file, "q")) {
      const Layer layer(file, name.prefix);
      const int64_t tokens = layer.k.shape.tokens;
      const test::AttentionOutputs outputs =
          test::attention_outputs(scheme, name.layer, layer.q.last(std::min(most, tokens)),
                                  layer.k.last(tokens), layer.v.last(tokens));
      const auto heads = test::head_errors(outputs);
      errors.add(heads);
      by_layer += by_layer_line(text, name.layer, heads);
      if (!options.has("outputs")) continue;
      tensors[name.prefix + "exact"] = stored(outputs, outputs.exact);
      for (size_t i = 0; i < test::kRoundings.size(); ++i)
        tensors[name.prefix + test::kRoundings[i]] = stored(outputs, outputs.found[i]);
    }
    const double fixed = errors.all[static_cast<size_t>(test::Rounding::kFixed)].rms();
    for (size_t i = 0; i < test::kRoundings.size(); ++i)
      table.push_back({text, test::kRoundings[i], fmt::format("{:.2e}", errors.all[i].rms()),
                       fmt::format("{:.2e}", errors.median(i)),
                       fmt::format("{:.2e}", errors.all[i].worst()),
                       fmt::format("{:.3f}", errors.all[i].rms() / fixed),
                       i == static_cast<size_t>(test::Rounding::kFp16)
                           ? ""
                           : fmt::format("{} of {}", errors.below_fp16(i), errors.heads.size())});
  }
  fmt::print("{}", eval::align_columns(table, 2));
  if (options.has("by-layer")) eval::write_file(options.text("by-layer"), by_layer);
  if (options.has("outputs")) eval::write_tensor_file(options.text("outputs"), tensors, {});
  return 0;
}

}  // namespace
}  // namespace kvx

int main(int argc, char** argv) {
  try {
    return kvx::run({argv + 1, argv + argc});
  } catch (const kvx::Error& error) {
    fmt::print(stderr, "bench_attention_error: {}\n", error.what());
    return static_cast<int>(error.exit());
  }
}
