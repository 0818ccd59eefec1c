// Gradients of a window's loss on the device equal those of the CPU bit for bit, and so do the
// refusals.
#include "sim/model/loss_gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "tests/data.h"
#include "tests/gpu/engine_pair.h"
#include "tests/support/expect_refused.h"

namespace kvx::test {
namespace {

using model::DType;
using model::KvGradient;

class DeviceLossGradient : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

// What one window gives: by layer as it comes, K before rotation, K, V, and their gradients.
struct Given {
  double loss = 0;
  std::vector<int> layers;
  std::vector<std::array<std::vector<float>, 6>> tensors;
};

Given run(model::LossGradient& gradient, std::span<const int32_t> tokens) {
  Given out;
  out.loss = gradient.run(tokens, [&](const KvGradient& of) {
    out.layers.push_back(of.layer);
    auto& to = out.tensors.emplace_back();
    const ConstRows rows[] = {of.k_pre, of.k, of.v, of.dk_pre, of.dk, of.dv};
    for (size_t i = 0; i < to.size(); ++i) {
      EXPECT_EQ(rows[i].tokens, std::ssize(tokens));
      to[i].assign(rows[i].data, rows[i].data + rows[i].tokens * rows[i].heads * rows[i].dim);
    }
  });
  return out;
}

// Both sides of one model; windows of up to `tokens` tokens.
struct GradientPair {
  model::CpuLossGradient cpu;
  std::unique_ptr<model::LossGradient> device;

  GradientPair(const ModelPair& pair, int64_t tokens)
      : cpu(pair.cpu, ref::factory(Descriptor::parse("fp:f32")), 0),
        device(gpu::make_loss_gradient(pair.device, tokens)) {}

  void expect_equal(std::span<const int32_t> tokens, int64_t dim, const std::string& what) {
    static constexpr const char* kNames[] = {"k before rotation",  "k",  "v",
                                             "dk before rotation", "dk", "dv"};
    const Given expected = run(cpu, tokens), got = run(*device, tokens);
    EXPECT_EQ(std::bit_cast<uint64_t>(got.loss), std::bit_cast<uint64_t>(expected.loss)) << what;
    ASSERT_EQ(got.layers, expected.layers) << what;
    for (size_t i = 0; i < got.layers.size(); ++i) {
      for (size_t j = 0; j < 6; ++j) {
        const std::vector<float>& values = expected.tensors[i][j];
        ASSERT_EQ(got.tensors[i][j].size(), values.size()) << what;
        expect_same_bits(got.tensors[i][j].data(), values.data(), std::ssize(values), dim,
                         what + ", layer " + std::to_string(got.layers[i]) + ", " + kNames[j]);
      }
    }
  }
};

void expect_equal(const model::Checkpoint& checkpoint, const std::vector<int64_t>& lengths,
                  const std::string& what) {
  const ModelPair pair(checkpoint);
  GradientPair gradients(pair, *std::ranges::max_element(lengths));
  for (const int64_t length : lengths)
    gradients.expect_equal(some_tokens(length, 21, pair.config().vocab), pair.config().head_dim,
                           what + ", " + std::to_string(length) + " tokens");
}

void expect_equal(const TinyModelSpec& spec, const std::vector<int64_t>& lengths,
                  const std::string& what) {
  const TempDir folder;
  write_tiny_model(folder.path(), spec);
  expect_equal(*model::Checkpoint::open(folder.path().string()), lengths, what);
}

// Blocks of 128 tokens begun, full and passed; segments of 256 too.
const std::vector<int64_t> kLengths = {2, 3, 65, 128, 129, 257, 600};

TinyModelSpec tiny(const char* architecture) {
  TinyModelSpec spec;
  spec.architecture = architecture;
  spec.max_positions = 1024;
  spec.layers = 3;
  return spec;
}

TEST_F(DeviceLossGradient, EveryArchitecture) {
  for (const char* name :
       {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    for (const bool bias : {false, true}) {
      TinyModelSpec spec = tiny(name);
      spec.head_dim = 24;  // heads * head_dim is not hidden
      if (bias && (spec.architecture == "MistralForCausalLM" || spec.has_qkv_bias())) continue;
      spec.attention_bias = bias;
      spec.tied = bias;
      expect_equal(spec, kLengths, std::string(name) + (bias ? ", biases" : ""));
    }
  }
}

TEST_F(DeviceLossGradient, EveryHeadLayout) {
  struct Layout {
    int64_t heads, kv_heads, dim;
  };
  for (const auto& [heads, kv_heads, dim] :
       std::vector<Layout>{{1, 1, 8}, {6, 2, 64}, {5, 1, 80}, {4, 4, 128}, {2, 1, 256}}) {
    TinyModelSpec spec = tiny("Qwen3ForCausalLM");
    spec.heads = heads;
    spec.kv_heads = kv_heads;
    spec.head_dim = dim;
    expect_equal(spec, {2, 65, 300},
                 std::to_string(heads) + " heads on " + std::to_string(kv_heads) + " of " +
                     std::to_string(dim));
  }
}

// Products of several blocks of 512; a vocabulary whose rows are not aligned; odd widths.
TEST_F(DeviceLossGradient, EveryWidthAndWeightType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const bool tied : {false, true}) {
      TinyModelSpec spec = tiny("LlamaForCausalLM");
      spec.dtype = dtype;
      spec.tied = tied;
      spec.hidden = 1036;
      spec.ffn = 1172;
      spec.vocab = 959;
      spec.layers = 2;
      expect_equal(spec, {2, 17, 130},
                   std::string(model::dtype_name(dtype)) + (tied ? ", tied" : ""));
    }
  }
}

// Matrices of one projection in one type, decoded; heads interleaved in the file.
TEST_F(DeviceLossGradient, QuantizedContainers) {
  TinyModelSpec spec = tiny("LlamaForCausalLM");
  spec.heads = 4;
  for (const DType matrices : {DType::kF16, DType::kQ8_0, DType::kQ4_1}) {
    const TempDir folder;
    write_tiny_gguf(folder / "model.gguf", spec, matrices);
    expect_equal(*model::Checkpoint::open(folder / "model.gguf"), {2, 140},
                 std::string("gguf ") + model::dtype_name(matrices));
  }
}

TEST_F(DeviceLossGradient, ScaledRotaryFrequencies) {
  TinyModelSpec spec = tiny("LlamaForCausalLM");
  spec.rope_scaling = {
      .rule = num::RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 64};
  expect_equal(spec, {65, 200}, "llama3");
}

// A window leaves nothing behind for the next, be it shorter, longer or refused.
TEST_F(DeviceLossGradient, WindowsAreIndependent) {
  const auto pair = ModelPair::tiny(tiny("Qwen2ForCausalLM"));
  GradientPair gradients(*pair, 400);
  for (const int64_t length : {400, 3, 129, 400, 2}) {
    EXPECT_THROW(run(*gradients.device, Tokens{1, -1}), Error);
    gradients.expect_equal(some_tokens(length, 22, pair->config().vocab), pair->config().head_dim,
                           std::to_string(length));
  }
  EXPECT_THROW(gradients.device->run(some_tokens(50, 22, 320),
                                     [](const KvGradient&) { throw std::runtime_error("tap"); }),
               std::runtime_error);
  gradients.expect_equal(some_tokens(77, 23, pair->config().vocab), pair->config().head_dim,
                         "after a tap that threw");
}

std::string message_of(model::LossGradient& gradient, const Tokens& tokens) {
  try {
    run(gradient, tokens);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST_F(DeviceLossGradient, RefusesInTheWordsOfTheCpu) {
  TinyModelSpec spec = tiny("LlamaForCausalLM");
  spec.max_positions = 64;
  // A key projection that overflows binary32 for some token.
  auto entries = tiny_safetensors(spec);
  const auto entry =
      std::ranges::find(entries, "model.layers.1.self_attn.k_proj.weight", &SafetensorsEntry::name);
  entry->bytes.replace(0, 4, le_bytes(3e38f));
  const TempDir folder;
  write_tiny_model(folder.path(), spec);
  write_file(folder / "model.safetensors", safetensors_file(entries));
  const ModelPair pair(*model::Checkpoint::open(folder.path().string()));
  GradientPair gradients(pair, 100);
  const std::pair<Tokens, const char*> cases[] = {
      {{1, 320}, "token id 320 is outside"},
      {{-1, 1}, "token id -1 is outside"},
      {Tokens(65, 1), "position 64 is beyond"},
      {some_tokens(60, 24, 320), "is not finite in f32"}};
  for (const auto& [tokens, words] : cases) {
    const std::string device = message_of(*gradients.device, tokens);
    EXPECT_EQ(device, message_of(gradients.cpu, tokens));
    EXPECT_NE(device.find(words), std::string::npos) << device;
  }
  EXPECT_THROW(run(*gradients.device, Tokens{1}), std::logic_error);
  EXPECT_THROW(run(*gradients.device, Tokens(101, 1)), std::logic_error);
}

TEST_F(DeviceLossGradient, NamesTheMemoryThatItLacks) {
  const auto pair = ModelPair::tiny(tiny("LlamaForCausalLM"));
  expect_refused([&] { gpu::make_loss_gradient(pair->device, int64_t{1} << 30); },
                 {"windows of 1073741824 tokens", "MiB", "free"});
}

// 1500 tokens: their logits are computed in two parts.
TEST_F(DeviceLossGradient, ARealModel) {
  KVX_NEED_MODEL(path, "smollm2-135m.gguf");
  expect_equal(*model::Checkpoint::open(path), {300, 1500}, "smollm2-135m");
}

}  // namespace
}  // namespace kvx::test
