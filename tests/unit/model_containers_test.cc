// The same weights give the same logits bit for bit from GGUF and from safetensors: written by both
// writers for every architecture, and converted from quantised blocks to binary32.
#include <gtest/gtest.h>

#include <bit>
#include <cctype>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/model/engine.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::Checkpoint;
using model::DType;
using test::TempDir;
using test::TinyModelSpec;

std::vector<uint32_t> logit_bits(const std::string& path) {
  const auto checkpoint = Checkpoint::open(path);
  const model::Model model(*checkpoint);
  model::Engine engine(model, ref::factory(Descriptor::parse("kivi:k4v4,r32")),
                       model::CacheMode::kStreamed, 2);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 100; ++i)
    tokens.push_back(static_cast<int32_t>(i * i * 37 % model.config().vocab));
  const model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
  std::vector<uint32_t> out;
  engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
    for (int64_t i = 0; i < rows * model.config().vocab; ++i)
      out.push_back(std::bit_cast<uint32_t>(logits[i]));
  });
  return out;
}

struct Case {
  std::string architecture;
  bool attention_bias;
  bool tied;
  DType dtype;
};

class Containers : public testing::TestWithParam<Case> {
 protected:
  TinyModelSpec spec() const {
    TinyModelSpec out;
    out.architecture = GetParam().architecture;
    out.attention_bias = GetParam().attention_bias;
    out.tied = GetParam().tied;
    out.sharded = out.tied;
    out.head_dim = 32;
    out.rope_scaling = {.rule = num::RopeScaling::Rule::kLinear, .factor = 3};
    return out;
  }
};

TEST_P(Containers, GiveTheSameLogits) {
  TinyModelSpec same = spec();
  same.dtype = GetParam().dtype;
  const TempDir dir;
  test::write_tiny_model(dir.path(), same);
  test::write_tiny_gguf(dir / "tiny.gguf", same, same.dtype);
  EXPECT_EQ(logit_bits(dir.path().string()), logit_bits(dir / "tiny.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Written, Containers,
                         testing::Values(Case{"LlamaForCausalLM", false, true, DType::kF32},
                                         Case{"LlamaForCausalLM", true, false, DType::kF16},
                                         Case{"MistralForCausalLM", false, false, DType::kBf16},
                                         Case{"Qwen2ForCausalLM", false, true, DType::kBf16},
                                         Case{"Qwen2ForCausalLM", false, false, DType::kF32},
                                         Case{"Qwen3ForCausalLM", false, true, DType::kF32},
                                         Case{"Qwen3ForCausalLM", true, false, DType::kF16}),
                         [](const auto& param) {
                           return param.param.architecture +
                                  (param.param.attention_bias ? "Biased" : "") +
                                  (param.param.tied ? "Tied" : "") +
                                  model::dtype_name(param.param.dtype);
                         });

// The rows of a checkpoint as an F32 folder beside the tiny model's configuration.
void convert(const Checkpoint& from, const TinyModelSpec& spec, const TempDir& dir) {
  TinyModelSpec wide = spec;
  wide.dtype = DType::kF32;
  wide.sharded = false;
  test::write_tiny_model(dir.path(), wide);
  auto entries = test::tiny_safetensors(wide);
  const auto tensors = test::tiny_tensors(wide);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const model::TensorRef ref = from.tensor(tensors[i].name, tensors[i].rows, tensors[i].cols);
    std::vector<float> row(static_cast<size_t>(ref.cols));
    entries[i].bytes.clear();
    for (int64_t r = 0; r < ref.rows; ++r) {
      model::read_row(ref, r, row);
      entries[i].bytes += test::encode_row(row.data(), ref.cols, DType::kF32);
    }
  }
  test::write_file(dir / "model.safetensors", test::safetensors_file(entries));
}

class Converted : public testing::TestWithParam<DType> {};

TEST_P(Converted, BlocksGiveTheLogitsOfTheirValues) {
  for (const char* architecture : {"LlamaForCausalLM", "Qwen2ForCausalLM"}) {
    TinyModelSpec spec;
    spec.architecture = architecture;
    spec.hidden = spec.ffn = 256;
    spec.head_dim = 64;
    spec.layers = 1;
    const TempDir dir;
    test::write_tiny_gguf(dir / "tiny.gguf", spec, GetParam());
    convert(*Checkpoint::open(dir / "tiny.gguf"), spec, dir);
    EXPECT_EQ(logit_bits(dir.path().string()), logit_bits(dir / "tiny.gguf")) << architecture;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Converted,
                         testing::Values(DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K),
                         [](const auto& param) { return model::dtype_name(param.param); });

}  // namespace
}  // namespace kvx
