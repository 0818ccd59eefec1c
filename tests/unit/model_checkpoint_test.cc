// Checkpoints round trip: what the writers of tests/support wrote is what the readers give, from
// either container.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "sim/model/checkpoint/blocks.h"
#include "sim/model/checkpoint/sha256.h"
#include "tests/data.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::Checkpoint;
using model::DType;
using model::TensorRef;
using test::TinyModelSpec;

std::vector<float> read_all(const TensorRef& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.rows * tensor.cols));
  const auto cols = static_cast<size_t>(tensor.cols);
  for (int64_t row = 0; row < tensor.rows; ++row) {
    model::read_row(tensor, row, std::span(out).subspan(static_cast<size_t>(row) * cols, cols));
  }
  return out;
}

void expect_bits_equal(const std::vector<float>& got, const std::vector<float>& want,
                       const std::string& name) {
  ASSERT_EQ(got.size(), want.size()) << name;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << name << " element " << i;
  }
}

void expect_weights(const Checkpoint& checkpoint, const TinyModelSpec& spec) {
  const auto tensors = test::tiny_tensors(spec);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorRef ref = checkpoint.tensor(tensors[i].name, tensors[i].rows, tensors[i].cols);
    EXPECT_EQ(ref.name, tensors[i].name);
    expect_bits_equal(read_all(ref), test::tiny_weights(spec, i), tensors[i].name);
  }
}

void expect_config(const model::ModelConfig& config, const TinyModelSpec& spec) {
  EXPECT_EQ(config.architecture, spec.architecture);
  EXPECT_EQ(config.qkv_bias, spec.has_qkv_bias());
  EXPECT_EQ(config.output_bias, spec.attention_bias);
  EXPECT_EQ(config.qk_norm, spec.has_qk_norm());
  EXPECT_EQ(config.rope_scaling, spec.rope_scaling);
  EXPECT_EQ(config.sliding_window, 0);
  EXPECT_EQ(config.hidden, spec.hidden);
  EXPECT_EQ(config.layers, spec.layers);
  EXPECT_EQ(config.heads, spec.heads);
  EXPECT_EQ(config.kv_heads, spec.kv_heads);
  EXPECT_EQ(config.head_dim, spec.head_dim);
  EXPECT_EQ(config.ffn, spec.ffn);
  EXPECT_EQ(config.vocab, spec.vocab);
  EXPECT_EQ(config.max_positions, spec.max_positions);
  EXPECT_EQ(config.rms_eps, 1e-5f);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.tied, spec.tied);
}

class FloatCheckpoint : public testing::TestWithParam<std::tuple<DType, bool, bool>> {
 protected:
  TinyModelSpec spec() const {
    TinyModelSpec out;
    std::tie(out.dtype, out.tied, out.sharded) = GetParam();
    return out;
  }
};

TEST_P(FloatCheckpoint, FolderGivesBackWhatWasWritten) {
  const test::TempDir dir;
  test::write_tiny_model(dir.path(), spec());
  const auto checkpoint = Checkpoint::open(dir.path().string());
  expect_config(checkpoint->config(), spec());
  expect_weights(*checkpoint, spec());
  EXPECT_TRUE(checkpoint->rope_divisors().empty());
}

TEST_P(FloatCheckpoint, GgufGivesTheSameRows) {
  const test::TempDir dir;
  test::write_tiny_gguf(dir / "tiny.gguf", spec(), spec().dtype);
  const auto checkpoint = Checkpoint::open(dir / "tiny.gguf");
  expect_config(checkpoint->config(), spec());
  expect_weights(*checkpoint, spec());
}

INSTANTIATE_TEST_SUITE_P(All, FloatCheckpoint,
                         testing::Combine(testing::Values(DType::kF32, DType::kF16, DType::kBf16),
                                          testing::Bool(), testing::Bool()),
                         [](const auto& param) {
                           return std::string(model::dtype_name(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) ? "Tied" : "Untied") +
                                  (std::get<2>(param.param) ? "Sharded" : "Single");
                         });

struct ArchitectureCase {
  const char* name;
  bool attention_bias;
};

class EveryArchitecture : public testing::TestWithParam<ArchitectureCase> {};

TEST_P(EveryArchitecture, IsTheSameFromEitherContainer) {
  TinyModelSpec spec;
  spec.architecture = GetParam().name;
  spec.attention_bias = GetParam().attention_bias;
  spec.head_dim = 24;
  spec.rope_scaling = {.rule = num::RopeScaling::Rule::kLinear, .factor = 4};
  const test::TempDir dir;
  test::write_tiny_model(dir.path(), spec);
  test::write_tiny_gguf(dir / "tiny.gguf", spec, DType::kF32);
  const auto folder = Checkpoint::open(dir.path().string());
  const auto gguf = Checkpoint::open(dir / "tiny.gguf");
  expect_weights(*folder, spec);
  expect_weights(*gguf, spec);
  expect_config(folder->config(), spec);
  // GGUF files of Mistral say llama.
  if (spec.architecture == "MistralForCausalLM") spec.architecture = "LlamaForCausalLM";
  expect_config(gguf->config(), spec);
  EXPECT_EQ(model::rope_steps(*folder), model::rope_steps(*gguf));
}
INSTANTIATE_TEST_SUITE_P(All, EveryArchitecture,
                         testing::Values(ArchitectureCase{"LlamaForCausalLM", false},
                                         ArchitectureCase{"LlamaForCausalLM", true},
                                         ArchitectureCase{"MistralForCausalLM", false},
                                         ArchitectureCase{"Qwen2ForCausalLM", false},
                                         ArchitectureCase{"Qwen3ForCausalLM", false},
                                         ArchitectureCase{"Qwen3ForCausalLM", true}),
                         [](const auto& param) {
                           return std::string(param.param.name) +
                                  (param.param.attention_bias ? "Biased" : "");
                         });

class SixteenBitCheckpoint : public testing::TestWithParam<DType> {};

TEST_P(SixteenBitCheckpoint, StoredBitsAreThoseOfTheValues) {
  TinyModelSpec spec;
  spec.dtype = GetParam();
  const test::TempDir dir;
  test::write_tiny_model(dir.path(), spec);
  test::write_tiny_gguf(dir / "tiny.gguf", spec, spec.dtype);
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  const int64_t rows = spec.kv_heads * spec.head_dim;
  const auto folder = Checkpoint::open(dir.path().string());
  const auto gguf = Checkpoint::open(dir / "tiny.gguf");
  const TensorRef a = folder->tensor(name, rows, spec.hidden);
  const TensorRef b = gguf->tensor(name, rows, spec.hidden);
  EXPECT_EQ(a.rotate_half_heads, 0);
  EXPECT_EQ(b.rotate_half_heads, spec.kv_heads);
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<uint16_t> from_a(static_cast<size_t>(a.cols)), from_b(from_a.size());
    std::vector<float> values(from_a.size());
    model::read_row_bits(a, row, from_a);
    model::read_row_bits(b, row, from_b);
    model::read_row(a, row, values);
    EXPECT_EQ(from_a, from_b) << row;
    const std::string encoded = test::encode_row(values.data(), a.cols, a.dtype);
    EXPECT_EQ(encoded, std::string(reinterpret_cast<const char*>(from_a.data()), encoded.size()))
        << row;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SixteenBitCheckpoint, testing::Values(DType::kF16, DType::kBf16),
                         [](const auto& param) { return model::dtype_name(param.param); });

// The block vectors of specs/baselines.md, section 11; they begin at an odd address, as a file may
// have them.
struct Block {
  DType dtype;
  std::string bytes;
  std::vector<int> codes;
  double scale;
  double minimum;
};

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

std::vector<int> nibbles(const std::string& bytes) {
  std::vector<int> out(32);
  for (size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<unsigned char>(bytes[j]) % 16;
    out[j + 16] = static_cast<unsigned char>(bytes[j]) / 16;
  }
  return out;
}

void expect_block(const Block& block) {
  const std::string stored = "x" + block.bytes + block.bytes;
  const TensorRef ref{"block", block.dtype, 2, 32, std::as_bytes(std::span(stored).subspan(1)), 0};
  std::vector<float> got(32);
  model::read_row(ref, 1, got);
  for (size_t i = 0; i < 32; ++i) {
    // Code times scale is exact in binary64, so this is rounded once, as the sum in binary32 is.
    double want = block.codes[i] * block.scale;
    if (block.dtype == DType::kQ4_1) want += block.minimum;
    EXPECT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(static_cast<float>(want)))
        << i;
  }
}

const std::vector<int> kQ8Codes = {-127, -123, -115, -102, -98, -90, -78, -74, -66, -53, -49,
                                   -41,  -29,  -25,  -16,  -4,  0,   8,   20,  25,  33,  45,
                                   49,   57,   70,   74,   82,  94,  98,  107, 119, 123};
const float kBlockInput[] = {-3.875f, -3.75f,  -3.5f,  -3.125f, -3.0f,   -2.75f, -2.375f, -2.25f,
                             -2.0f,   -1.625f, -1.5f,  -1.25f,  -0.875f, -0.75f, -0.5f,   -0.125f,
                             0.0f,    0.25f,   0.625f, 0.75f,   1.0f,    1.375f, 1.5f,    1.75f,
                             2.125f,  2.25f,   2.5f,   2.875f,  3.0f,    3.25f,  3.625f,  3.75f};

TEST(Blocks, Q8_0) {
  std::string codes;
  for (const int code : kQ8Codes) codes += static_cast<char>(code);
  const std::string bytes = from_hex("d027") + codes;
  expect_block({DType::kQ8_0, bytes, kQ8Codes, 0.030517578125, 0});
  EXPECT_EQ(test::encode_row(kBlockInput, 32, DType::kQ8_0), bytes);
}

TEST(Blocks, Q4_0) {
  const std::string codes = from_hex("809091a2a2b2b3c3c4d5d5e5e6f6f7f8");
  const std::string bytes = from_hex("c037") + codes;
  std::vector<int> signed_codes = nibbles(codes);
  for (int& code : signed_codes) code -= 8;
  expect_block({DType::kQ4_0, bytes, signed_codes, 0.484375, 0});
  EXPECT_EQ(test::encode_row(kBlockInput, 32, DType::kQ4_0), bytes);
  // The same with a negative scale: code 8 reads as -0.
  expect_block({DType::kQ4_0, from_hex("c0b7") + codes, signed_codes, -0.484375, 0});
}

TEST(Blocks, Q4_1) {
  const std::string codes = from_hex("80809191a2a2b3b3c4c4d5d5e6e6f7f7");
  const std::string bytes = from_hex("1138c0c3") + codes;
  expect_block({DType::kQ4_1, bytes, nibbles(codes), 0.50830078125, -3.875});
  EXPECT_EQ(test::encode_row(kBlockInput, 32, DType::kQ4_1), bytes);
}

// Part of the energy that rounding to so many bits may cost.
double error_limit(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return 1e-4;
    case DType::kQ6_K:
      return 1e-3;
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ5_K:
      return 5e-3;
    default:
      return 2e-2;
  }
}

// A quantised file reads as its blocks do, rotate-half rows included.
class QuantisedGguf : public testing::TestWithParam<DType> {};

TEST_P(QuantisedGguf, RowsAreTheirBlocks) {
  TinyModelSpec spec;
  spec.hidden = spec.ffn = 256;  // whole blocks
  spec.head_dim = 64;
  const test::TempDir dir;
  test::write_tiny_gguf(dir / "tiny.gguf", spec, GetParam());
  const auto checkpoint = Checkpoint::open(dir / "tiny.gguf");
  const auto tensors = test::tiny_tensors(spec);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, rows, cols] = tensors[i];
    const std::vector<float> weights = test::tiny_weights(spec, i);
    std::vector<float> want = weights;
    if (rows != 1) {
      for (int64_t row = 0; row < rows; ++row) {
        const std::string bytes = test::encode_row(weights.data() + row * cols, cols, GetParam());
        const TensorRef one{name, GetParam(), 1, cols, std::as_bytes(std::span(bytes)), 0};
        model::read_row(
            one, 0,
            std::span(want).subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols)));
      }
    }
    expect_bits_equal(read_all(checkpoint->tensor(name, rows, cols)), want, name);
    double error = 0, energy = 0;
    for (size_t k = 0; k < want.size(); ++k) {
      error += std::pow(static_cast<double>(want[k]) - static_cast<double>(weights[k]), 2);
      energy += std::pow(static_cast<double>(weights[k]), 2);
    }
    EXPECT_LT(error, error_limit(GetParam()) * energy) << name;
  }
}
INSTANTIATE_TEST_SUITE_P(All, QuantisedGguf,
                         testing::Values(DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K),
                         [](const auto& param) { return model::dtype_name(param.param); });

// 64 blocks of every type whose bytes are those of SHA-256 of "TYPE:0", "TYPE:1", ..., each scale
// made finite; SHA-256 of their values as tests/oracle/gguf_types.py prints it, computed by the
// package gguf.
struct GoldenBlocks {
  DType dtype;
  std::vector<size_t> scales;  // where float16 numbers lie in a block
  const char* sha256;
};

class Dequantised : public testing::TestWithParam<GoldenBlocks> {};

TEST_P(Dequantised, IsWhatTheFormatsAuthorsGet) {
  const auto& [dtype, scales, golden] = GetParam();
  const model::BlockShape shape = model::block_shape(dtype);
  const auto size = static_cast<size_t>(shape.bytes);
  constexpr size_t kBlocks = 64;
  std::string stored;
  for (int i = 0; stored.size() < kBlocks * size; ++i) {
    model::Sha256 hash;
    hash.update(std::string(model::dtype_name(dtype)) + ":" + std::to_string(i));
    stored += from_hex(hash.hex());
  }
  stored.resize(kBlocks * size);
  for (size_t block = 0; block < kBlocks; ++block)
    for (const size_t at : scales) stored[block * size + at + 1] &= static_cast<char>(0xBF);
  const TensorRef ref{
      "blocks", dtype, 1, shape.values * int64_t{kBlocks}, std::as_bytes(std::span(stored)), 0};
  const std::vector<float> values = read_all(ref);
  model::Sha256 hash;
  hash.update(std::as_bytes(std::span(values)));
  EXPECT_EQ(hash.hex(), golden);
}
INSTANTIATE_TEST_SUITE_P(
    All, Dequantised,
    testing::Values(
        GoldenBlocks{
            DType::kQ8_0, {0}, "9ae246182615320d7751d35f5d23352fbd1a2425652f5cba8ffcc9405b141ae7"},
        GoldenBlocks{
            DType::kQ4_0, {0}, "31e63ce961584959acec295ddadc37e971ecc5593d62f5caea70f07c9f1398f5"},
        GoldenBlocks{DType::kQ4_1,
                     {0, 2},
                     "9227586927d99c1cb050210d7af40e7d26b7379c73dc7b37e8e2dea5c4dcaa90"},
        GoldenBlocks{
            DType::kQ5_0, {0}, "5e82f73a546d735d870b9d5fdacbadb578cc5861bc530dd20105c7a96a0fa34a"},
        GoldenBlocks{DType::kQ5_1,
                     {0, 2},
                     "a2ac33d4c8f711085d7653319a4b90a4f85cfef3a9e41bce3baf9a0c9416d146"},
        GoldenBlocks{DType::kQ4_K,
                     {0, 2},
                     "35acdc049f431d1b40d46729fc09165c365f0ded0cbf144fe7fc115db7401a42"},
        GoldenBlocks{DType::kQ5_K,
                     {0, 2},
                     "c5bbf54eb45370a7bb533570b305fdf7abbb3bf5609caa4b127971443857ee64"},
        GoldenBlocks{DType::kQ6_K,
                     {208},
                     "54938ee66824b36115d8ec66a2d74d365defc41995cdfd298bd80862208d5000"}),
    [](const auto& param) { return model::dtype_name(param.param.dtype); });

TEST(RopeDivisors, AreTheTensorOfThatName) {
  const TinyModelSpec spec;
  const test::TempDir dir;
  std::string bytes;
  std::vector<float> want;
  for (int64_t i = 0; i < spec.head_dim / 2; ++i) {
    want.push_back(1.0f + static_cast<float>(i));
    bytes += test::le_bytes(want.back());
  }
  test::GgufWriter writer = test::tiny_gguf_metadata(spec);
  test::add_tiny_gguf_tensors(writer, spec, DType::kF32);
  writer.tensor("rope_freqs.weight", {static_cast<uint64_t>(spec.head_dim / 2)}, 0, bytes);
  test::write_file(dir / "tiny.gguf", writer.file());
  EXPECT_EQ(Checkpoint::open(dir / "tiny.gguf")->rope_divisors(), want);
}

TEST(Identity, FollowsEveryByteOfTheFiles) {
  TinyModelSpec spec;
  const test::TempDir dir;
  const auto hash = [&] {
    test::write_tiny_model(dir.path(), spec);
    return Checkpoint::open(dir.path().string())->sha256();
  };
  const std::string first = hash();
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(hash(), first);
  spec.seed = 2;
  EXPECT_NE(hash(), first);
  spec.seed = 1;
  spec.max_positions = 511;
  EXPECT_NE(hash(), first);
}

TEST(Config, DefaultsAndNewerSpellings) {
  const TinyModelSpec spec;
  const test::TempDir dir;
  test::write_tiny_model(dir.path(), spec);
  auto config = nlohmann::json::parse(test::tiny_config_json(spec));
  config["head_dim"] = nullptr;
  config.erase("rope_theta");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500000.0}};
  config["rope_scaling"] = {{"type", "default"}};
  test::write_file(dir / "config.json", config.dump());
  const auto read = Checkpoint::open(dir.path().string())->config();
  EXPECT_EQ(read.head_dim, spec.hidden / spec.heads);
  EXPECT_EQ(read.rope_theta, 500000.0);
}

class FolderConfig : public testing::Test {
 protected:
  // The configuration of a folder of this architecture with these keys changed.
  model::ModelConfig read(const std::string& architecture, const nlohmann::json& changes) {
    TinyModelSpec spec;
    spec.architecture = architecture;
    test::write_tiny_model(dir_.path(), spec);
    auto config = nlohmann::json::parse(test::tiny_config_json(spec));
    for (const auto& [key, value] : changes.items()) config[key] = value;
    for (const auto& [key, value] : changes.items())
      if (value == "absent") config.erase(key);
    test::write_file(dir_ / "config.json", config.dump());
    return Checkpoint::open(dir_.path().string())->config();
  }

 private:
  test::TempDir dir_;
};

TEST_F(FolderConfig, RopeScalingInEverySpelling) {
  const num::RopeScaling llama3{
      .rule = num::RopeScaling::Rule::kLlama3, .factor = 32, .low = 1, .high = 4, .original = 8192};
  nlohmann::json object = {{"rope_type", "llama3"},
                           {"factor", 32.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 8192}};
  EXPECT_EQ(read("LlamaForCausalLM", {{"rope_scaling", object}}).rope_scaling, llama3);
  object["rope_theta"] = 500000.0;
  const auto newest =
      read("LlamaForCausalLM", {{"rope_parameters", object}, {"rope_theta", "absent"}});
  EXPECT_EQ(newest.rope_scaling, llama3);
  EXPECT_EQ(newest.rope_theta, 500000.0);
  const num::RopeScaling linear{.rule = num::RopeScaling::Rule::kLinear, .factor = 2.5};
  EXPECT_EQ(read("MistralForCausalLM", {{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}})
                .rope_scaling,
            linear);
}

// As transformers decides it: Mistral's window holds where it is not null, Qwen's where the switch
// is on and some layer is beyond max_window_layers, Llama's never.
TEST_F(FolderConfig, SlidingWindows) {
  const auto window = [&](const char* architecture, const nlohmann::json& changes) {
    return read(architecture, changes).sliding_window;
  };
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", 100}}), 100);
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", nullptr}}), 0);
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", "absent"}}), 4096);
  EXPECT_EQ(window("LlamaForCausalLM", {{"sliding_window", 100}}), 0);
  for (const char* qwen : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    nlohmann::json changes = {{"sliding_window", 100}, {"max_window_layers", 1}};
    EXPECT_EQ(window(qwen, changes), 0);
    changes["use_sliding_window"] = false;
    EXPECT_EQ(window(qwen, changes), 0);
    changes["use_sliding_window"] = true;
    EXPECT_EQ(window(qwen, changes), 100);
    changes["max_window_layers"] = 2;  // as many as there are
    EXPECT_EQ(window(qwen, changes), 0);
    changes["layer_types"] = {"full_attention", "sliding_attention"};
    EXPECT_EQ(window(qwen, changes), 100);
  }
}

// A trained checkpoint, in the shape that its own page gives.
TEST(RealFiles, Stories260KFolder) {
  KVX_NEED_DATA(path, "models/stories260K/hf");
  const auto checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint->config().layers, 5);
  EXPECT_EQ(checkpoint->config().head_dim, 8);
  EXPECT_TRUE(checkpoint->config().tied);
  EXPECT_EQ(checkpoint->tensor("model.layers.4.mlp.down_proj.weight", 64, 172).dtype, DType::kF32);
}

TEST(RealFiles, QwenCoderGguf) {
  KVX_NEED_MODEL(path, "qwen2.5-coder-0.5b.gguf");
  const auto checkpoint = Checkpoint::open(path);
  const model::ModelConfig& config = checkpoint->config();
  EXPECT_EQ(config.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(config.layers, 24);
  EXPECT_EQ(config.heads, 14);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_FALSE(config.tied);
  EXPECT_EQ(checkpoint->tensor("model.layers.0.self_attn.q_proj.bias", 896, 1).dtype, DType::kF32);
  EXPECT_EQ(checkpoint->tensor("model.layers.0.mlp.down_proj.weight", 896, 4864).dtype,
            DType::kQ6_K);
}

TEST(RealFiles, SmolLm2Gguf) {
  KVX_NEED_MODEL(path, "smollm2-135m.gguf");
  const auto checkpoint = Checkpoint::open(path);
  const model::ModelConfig& config = checkpoint->config();
  EXPECT_EQ(config.layers, 30);
  EXPECT_EQ(config.heads, 9);
  EXPECT_EQ(config.kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocab, 49152);
  EXPECT_EQ(config.rope_theta, 100000.0);
  EXPECT_TRUE(config.tied);
  EXPECT_EQ(checkpoint->tensor("model.embed_tokens.weight", 49152, 576).dtype, DType::kQ8_0);
  EXPECT_EQ(checkpoint->tensor("model.layers.29.mlp.up_proj.weight", 1536, 576).dtype,
            DType::kQ4_1);
}

}  // namespace
}  // namespace kvx
