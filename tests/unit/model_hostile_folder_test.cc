// Hugging Face folders that are broken or lie: each is refused with the file, the field and the
// value.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "tests/support/expect_refused.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using nlohmann::json;
using test::TempDir;
using test::TinyModelSpec;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kEmbed = "model.embed_tokens.weight";

struct Case {
  const char* name;
  std::function<void(const TempDir&)> spoil;  // a good folder, F32, untied
  std::vector<std::string> words;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

struct Weights {
  json header;
  std::string data;
};

std::function<void(const TempDir&)> edit_weights(std::function<void(Weights&)> edit) {
  return [edit](const TempDir& dir) {
    const std::string file = test::read_file(dir / kWeights);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    Weights weights{json::parse(file.substr(8, length)), file.substr(8 + length)};
    edit(weights);
    test::write_file(dir / kWeights, test::safetensors_file(weights.header.dump(), weights.data));
  };
}

std::function<void(const TempDir&)> replace_weights(const std::string& content) {
  return [content](const TempDir& dir) { test::write_file(dir / kWeights, content); };
}

std::function<void(const TempDir&)> set_config(const std::string& key, const json& value) {
  return [key, value](const TempDir& dir) {
    json config = json::parse(test::read_file(dir / "config.json"));
    config[key] = value;
    test::write_file(dir / "config.json", config.dump());
  };
}

std::function<void(const TempDir&)> edit_shards(std::function<void(const TempDir&, json&)> edit) {
  return [edit](const TempDir& dir) {
    std::filesystem::remove(dir / kWeights);
    TinyModelSpec spec;
    spec.sharded = true;
    test::write_tiny_model(dir.path(), spec);
    json index = json::parse(test::read_file(dir / kIndex));
    edit(dir, index);
    test::write_file(dir / kIndex, index.dump());
  };
}

const std::string kSecondShard = "model-00002-of-00002.safetensors";

// A good llama3 scaling with one field replaced.
std::function<void(const TempDir&)> set_llama3(const std::string& key, const json& value) {
  json scaling = {{"rope_type", "llama3"},
                  {"factor", 8.0},
                  {"low_freq_factor", 1.0},
                  {"high_freq_factor", 4.0},
                  {"original_max_position_embeddings", 8192}};
  scaling[key] = value;
  return set_config("rope_scaling", scaling);
}

void rename(json& header, const std::string& from, const std::string& to) {
  header[to] = header[from];
  header.erase(from);
}

// A Qwen2 folder with another safetensors header.
std::function<void(const TempDir&)> qwen2(std::function<void(json&)> edit) {
  return [edit](const TempDir& dir) {
    TinyModelSpec spec;
    spec.architecture = "Qwen2ForCausalLM";
    test::write_tiny_model(dir.path(), spec);
    edit_weights([&](Weights& weights) { edit(weights.header); })(dir);
  };
}

const std::vector<Case> kCases = {
    // safetensors
    {"EmptyFile", replace_weights(""), {kWeights, "0 bytes"}},
    {"SevenBytes", replace_weights("1234567"), {kWeights, "7 bytes"}},
    {"HeaderBeyondFile",
     replace_weights(test::le_bytes<uint64_t>(100) + "{}"),
     {kWeights, "header length is 100"}},
    {"HeaderLengthHuge",
     replace_weights(test::le_bytes<uint64_t>(~uint64_t{0}) + "{}"),
     {kWeights, "header length is 18446744073709551615"}},
    {"HeaderNotJson",
     replace_weights(test::safetensors_file("{\"a\":", "")),
     {kWeights, "not valid JSON"}},
    {"HeaderNotObject",
     replace_weights(test::safetensors_file("[1]", "")),
     {kWeights, "not a JSON object"}},
    {"HeaderDeep",
     replace_weights(test::safetensors_file(std::string(100000, '['), "")),
     {kWeights, "nested deeper than 32"}},
    {"HeaderBadUtf8",
     replace_weights(test::safetensors_file("{\"a\xff\":{}}", "")),
     {kWeights, "not valid JSON"}},
    {"HeaderTensorTwice",
     replace_weights(test::safetensors_file(R"({"a":{},"a":{}})", "")),
     {kWeights, "'a'", "twice"}},
    {"HeaderFieldTwice",
     replace_weights(test::safetensors_file(R"({"a":{"dtype":"F32","dtype":"F16"}})", "")),
     {kWeights, "'dtype'", "twice"}},
    {"HeaderInfinity",
     replace_weights(test::safetensors_file(R"({"a":1e999})", "")),
     {kWeights, "not valid JSON"}},
    {"EntryNotObject",
     edit_weights([](Weights& w) { w.header[kEmbed] = 3; }),
     {kWeights, kEmbed, "not an object"}},
    {"DtypeUnknown",
     edit_weights([](Weights& w) { w.header[kEmbed]["dtype"] = "F4"; }),
     {kWeights, kEmbed, "dtype", "F4"}},
    {"DtypeNumber",
     edit_weights([](Weights& w) { w.header[kEmbed]["dtype"] = 3; }),
     {kWeights, kEmbed, "dtype", "3"}},
    {"DtypeMissing",
     edit_weights([](Weights& w) { w.header[kEmbed].erase("dtype"); }),
     {kWeights, kEmbed, "dtype", "missing"}},
    {"DtypeNotRead",
     edit_weights([](Weights& w) { w.header[kEmbed]["dtype"] = "I32"; }),
     {kWeights, kEmbed, "I32", "not supported"}},
    {"DtypeOfOtherSize",
     edit_weights([](Weights& w) { w.header[kEmbed]["dtype"] = "F16"; }),
     {kWeights, kEmbed, "shape", "F16"}},
    {"ShapeNegative",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {-1, 64};
     }),
     {kWeights, kEmbed, "shape", "-1"}},
    {"ShapeFraction",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {320.5, 64};
     }),
     {kWeights, kEmbed, "shape", "320.5"}},
    {"ShapeOverflow",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {int64_t{1} << 62, 8};
     }),
     {kWeights, kEmbed, "shape", "4611686018427387904"}},
    {"ShapeOverflowToZero",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {int64_t{1} << 32, int64_t{1} << 32};
       w.header[kEmbed]["data_offsets"] = {0, 0};
     }),
     {kWeights, kEmbed, "shape"}},
    {"ShapeOfOtherLength",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {320, 63};
     }),
     {kWeights, kEmbed, "shape"}},
    {"ShapeLong",
     edit_weights([](Weights& w) { w.header[kEmbed]["shape"] = std::vector<int>(9, 1); }),
     {kWeights, kEmbed, "shape"}},
    {"ShapeTransposed",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {64, 320};
     }),
     {kWeights, kEmbed, "[64, 320]", "[320, 64]"}},
    {"ShapeOfRankThree",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["shape"] = {320, 8, 8};
     }),
     {kWeights, kEmbed, "[320, 8, 8]"}},
    {"ShapeZero",
     edit_weights([](Weights& w) {
       const auto& offsets = w.header[kEmbed]["data_offsets"];
       w.header["extra"] = {
           {"dtype", "F32"}, {"shape", {0, 64}}, {"data_offsets", {offsets[0], offsets[0]}}};
     }),
     {kWeights, "extra", "not part of"}},
    {"OffsetsReversed",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["data_offsets"] = {8, 4};
     }),
     {kWeights, kEmbed, "data_offsets", "[8,4]"}},
    {"OffsetsBeyondFile",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["data_offsets"] = {0, int64_t{1} << 50};
     }),
     {kWeights, kEmbed, "data_offsets", "1125899906842624"}},
    {"OffsetsNegative",
     edit_weights([](Weights& w) {
       w.header[kEmbed]["data_offsets"] = {-4, 4};
     }),
     {kWeights, kEmbed, "data_offsets", "-4"}},
    {"OffsetsOne",
     edit_weights([](Weights& w) { w.header[kEmbed]["data_offsets"] = {0}; }),
     {kWeights, kEmbed, "data_offsets"}},
    {"TensorsOverlap",
     edit_weights([](Weights& w) {
       w.header["lm_head.weight"]["data_offsets"] = w.header[kEmbed]["data_offsets"];
     }),
     {kWeights, "data_offsets", "begins at"}},
    {"DataLeftOver",
     edit_weights([](Weights& w) { w.data += "1234"; }),
     {kWeights, "bytes of data"}},
    {"DataCutByOne",
     edit_weights([](Weights& w) { w.data.pop_back(); }),
     {kWeights, "data_offsets"}},
    {"TensorMissing",
     edit_weights([](Weights& w) {
       w.header["model.layers.1.mlp.up_proj.bias"] = w.header["model.layers.1.mlp.up_proj.weight"];
       w.header.erase("model.layers.1.mlp.up_proj.weight");
     }),
     {"model.layers.1.mlp.up_proj.weight", "missing"}},
    {"TensorTooMany",
     edit_weights([](Weights& w) {
       const size_t end = w.data.size();
       w.header["model.layers.0.self_attn.q_proj.bias"] = {
           {"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {end, end + 4}}};
       w.data += "1234";
     }),
     {kWeights, "model.layers.0.self_attn.q_proj.bias", "not part of"}},
    {"NameUnprintable",
     edit_weights([](Weights& w) {
       const size_t end = w.data.size();
       w.header["new\nline"] = {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {end, end + 4}}};
       w.data += "1234";
     }),
     {kWeights, "new\\x0aline"}},
    {"NoWeights",
     [](const TempDir& dir) { std::filesystem::remove(dir / kWeights); },
     {"neither", kWeights, kIndex}},
    {"WeightsAreFolder",
     [](const TempDir& dir) {
       std::filesystem::remove(dir / kWeights);
       std::filesystem::create_directory(dir / kWeights);
     },
     {kWeights, "not a regular file"}},
    // shards
    {"ShardOutside",
     edit_shards(
         [](const TempDir&, json& index) { index["weight_map"][kEmbed] = "../x.safetensors"; }),
     {kIndex, kEmbed, "../x.safetensors"}},
    {"ShardMissing",
     edit_shards(
         [](const TempDir&, json& index) { index["weight_map"][kEmbed] = "x.safetensors"; }),
     {"x.safetensors", "no such file"}},
    {"ShardNotString",
     edit_shards([](const TempDir&, json& index) { index["weight_map"][kEmbed] = 1; }),
     {kIndex, kEmbed, "1"}},
    {"ShardOther",
     edit_shards([](const TempDir&, json& index) { index["weight_map"][kEmbed] = kSecondShard; }),
     {kSecondShard, kEmbed, "missing"}},
    {"ShardTensorNotInIndex",
     edit_shards([](const TempDir&, json& index) { index["weight_map"].erase(kEmbed); }),
     {kIndex, "weight_map", "20 tensors", "21"}},
    {"ShardTensorTwice",
     edit_shards([](const TempDir& dir, json&) {
       std::filesystem::copy_file(dir / "model-00001-of-00002.safetensors", dir / kSecondShard,
                                  std::filesystem::copy_options::overwrite_existing);
     }),
     {kSecondShard, "lm_head.weight", "twice"}},
    {"IndexWithoutMap",
     edit_shards([](const TempDir&, json& index) { index.erase("weight_map"); }),
     {kIndex, "weight_map", "missing"}},
    // config.json
    {"NoConfig",
     [](const TempDir& dir) { std::filesystem::remove(dir / "config.json"); },
     {"config.json", "no such file"}},
    {"ConfigEmpty",
     [](const TempDir& dir) { test::write_file(dir / "config.json", ""); },
     {"config.json", "not valid JSON"}},
    {"ConfigTwice",
     [](const TempDir& dir) { test::write_file(dir / "config.json", R"({"a":1,"a":1})"); },
     {"config.json", "'a'", "twice"}},
    {"ConfigLarge",
     [](const TempDir& dir) { test::write_file(dir / "config.json", std::string(2 << 20, ' ')); },
     {"config.json", "2097152 bytes"}},
    {"Qwen2WithoutBiases",
     set_config("architectures", {"Qwen2ForCausalLM"}),
     {"model.layers.0.self_attn.q_proj.bias", "missing"}},
    {"Qwen3WithoutNorms",
     set_config("architectures", {"Qwen3ForCausalLM"}),
     {"model.layers.0.self_attn.q_norm.weight", "missing"}},
    {"Qwen2Moe",
     set_config("architectures", {"Qwen2MoeForCausalLM"}),
     {"config.json", "Qwen2MoeForCausalLM", "missing mixture of experts"}},
    {"Gemma",
     set_config("architectures", {"Gemma2ForCausalLM"}),
     {"config.json", "Gemma2ForCausalLM", "missing scaled embeddings"}},
    {"OtherArchitecture",
     set_config("architectures", {"FooForCausalLM"}),
     {"config.json", "FooForCausalLM", "missing"}},
    {"TwoArchitectures",
     set_config("architectures", {"LlamaForCausalLM", "FooForCausalLM"}),
     {"config.json", "architectures"}},
    {"HiddenSizeText", set_config("hidden_size", "64"), {"config.json", "hidden_size", "64"}},
    {"HiddenSizeNull",
     set_config("hidden_size", nullptr),
     {"config.json", "hidden_size", "missing"}},
    {"HiddenSizeZero", set_config("hidden_size", 0), {"config.json", "hidden_size", "0"}},
    {"HiddenSizeNegative", set_config("hidden_size", -64), {"config.json", "hidden_size", "-64"}},
    {"HiddenSizeHuge",
     set_config("hidden_size", ~uint64_t{0}),
     {"config.json", "hidden_size", "18446744073709551615"}},
    {"HiddenSizeOther",
     set_config("hidden_size", 32),
     {kWeights, kEmbed, "[320, 64]", "[320, 32]"}},
    {"VocabOther", set_config("vocab_size", 321), {kWeights, kEmbed, "[320, 64]", "[321, 64]"}},
    {"LayersMore", set_config("num_hidden_layers", 2000000000), {"model.layers.2.", "missing"}},
    {"LayersFewer",
     set_config("num_hidden_layers", 1),
     {kWeights, "model.layers.1.", "not part of a 1-layer"}},
    {"KvHeadsNoDivisor",
     set_config("num_key_value_heads", 3),
     {"config.json", "num_key_value_heads", "3"}},
    {"HeadDimOdd", set_config("head_dim", 15), {"config.json", "15", "odd"}},
    {"RopeYarn",
     set_config("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}),
     {"config.json", "rope_scaling.rope_type", "yarn", "missing"}},
    {"RopeDynamicOldSpelling",
     set_config("rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}),
     {"config.json", "rope_scaling.type", "dynamic", "missing"}},
    {"RopeLongropeNewest",
     set_config("rope_parameters", {{"rope_type", "longrope"}, {"rope_theta", 1e4}}),
     {"config.json", "rope_parameters.rope_type", "longrope", "missing"}},
    {"RopeTypesDiffer",
     set_config("rope_scaling", {{"rope_type", "linear"}, {"type", "default"}, {"factor", 2.0}}),
     {"config.json", "rope_scaling.type", "default"}},
    {"RopeLinearWithoutFactor",
     set_config("rope_scaling", {{"rope_type", "linear"}}),
     {"config.json", "rope_scaling.factor", "missing"}},
    {"RopeFactorZero",
     set_config("rope_scaling", {{"rope_type", "linear"}, {"factor", 0.0}}),
     {"config.json", "rope_scaling.factor", "0.0"}},
    {"RopeFactorTiny",
     set_config("rope_scaling", {{"rope_type", "linear"}, {"factor", 1e-300}}),
     {"config.json", "rope_scaling.factor", "1e-300", "at least 1"}},
    {"RopeFactorText",
     set_config("rope_scaling", {{"rope_type", "linear"}, {"factor", "2"}}),
     {"config.json", "rope_scaling.factor", "2"}},
    {"Llama3WithoutFactors",
     set_config("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}),
     {"config.json", "rope_scaling.low_freq_factor", "missing"}},
    {"Llama3FactorsEqual", set_llama3("high_freq_factor", 1.0), {"high_freq_factor", "1.0", "above"}},
    {"Llama3LowNegative", set_llama3("low_freq_factor", -1.0), {"low_freq_factor", "-1.0"}},
    {"Llama3OriginalZero",
     set_llama3("original_max_position_embeddings", 0),
     {"original_max_position_embeddings", "0"}},
    {"Llama3OriginalFraction",
     set_llama3("original_max_position_embeddings", 8192.5),
     {"original_max_position_embeddings", "8192.5"}},
    {"RopeUnknownField",
     set_llama3("mrope_section", {1, 2}),
     {"config.json", "rope_scaling.mrope_section", "not supported"}},
    {"RopePartialInside",
     set_llama3("partial_rotary_factor", 0.5),
     {"config.json", "rope_scaling.partial_rotary_factor", "0.5"}},
    {"RopePartial",
     set_config("partial_rotary_factor", 0.5),
     {"config.json", "partial_rotary_factor", "0.5"}},
    {"RopeScaledTwice",
     [](const TempDir& dir) {
       set_llama3("factor", 8.0)(dir);
       set_config("rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}})(dir);
     },
     {"config.json", "rope_scaling", "what rope_parameters says"}},
    {"RopeThetaBelowOne", set_config("rope_theta", 0.5), {"config.json", "rope_theta", "0.5"}},
    {"RopeThetaHuge", set_config("rope_theta", 1e300), {"config.json", "rope_theta", "1e+300"}},
    {"RopeScalingNameless",
     set_config("rope_scaling", {{"factor", 2.0}}),
     {"config.json", "rope_scaling.rope_type", "missing"}},
    {"RopeThetaZero", set_config("rope_theta", 0.0), {"config.json", "rope_theta", "0.0"}},
    {"EpsNegative", set_config("rms_norm_eps", -1e-5), {"config.json", "rms_norm_eps", "-1e-05"}},
    {"AttentionBiasWithoutTensors",
     set_config("attention_bias", true),
     {"model.layers.0.self_attn.q_proj.bias", "missing"}},
    {"MistralBias",
     [](const TempDir& dir) {
       set_config("architectures", {"MistralForCausalLM"})(dir);
       set_config("attention_bias", true)(dir);
     },
     {"config.json", "attention_bias", "missing biases"}},
    {"MistralWindowZero",
     [](const TempDir& dir) {
       set_config("architectures", {"MistralForCausalLM"})(dir);
       set_config("sliding_window", 0)(dir);
     },
     {"config.json", "sliding_window", "0"}},
    {"LayerTypesOther",
     set_config("layer_types", {"full_attention", "chunked_attention"}),
     {"config.json", "layer_types", "chunked_attention"}},
    {"LayerTypesWithoutWindow",
     [](const TempDir& dir) {
       set_config("layer_types", {"full_attention", "sliding_attention"})(dir);
       set_config("sliding_window", nullptr)(dir);
     },
     {"config.json", "sliding_window", "null"}},
    {"LayerTypesNumber", set_config("layer_types", 3), {"config.json", "layer_types", "3"}},
    {"BiasMissingInOneLayer",
     qwen2([](json& header) { rename(header, "model.layers.1.self_attn.k_proj.bias", "x"); }),
     {"model.layers.1.self_attn.k_proj.bias", "missing"}},
    {"BiasTooMany",
     [](const TempDir& dir) {
       TinyModelSpec spec;
       spec.attention_bias = true;
       test::write_tiny_model(dir.path(), spec);
       set_config("architectures", {"Qwen2ForCausalLM"})(dir);
     },
     {kWeights, "model.layers.0.self_attn.o_proj.bias", "not part of"}},
    {"BiasOfRankTwo",
     qwen2([](json& header) {
       header["model.layers.0.self_attn.q_proj.bias"]["shape"] = {8, 8};
     }),
     {kWeights, "model.layers.0.self_attn.q_proj.bias", "[8, 8]", "[64]"}},
    {"MlpBias", set_config("mlp_bias", true), {"config.json", "mlp_bias", "missing biases"}},
    {"Activation", set_config("hidden_act", "gelu"), {"config.json", "hidden_act", "gelu"}},
    {"Quantised",
     set_config("quantization_config", {{"quant_method", "gptq"}}),
     {"config.json", "quantization_config", "gptq"}},
    {"TiedText",
     set_config("tie_word_embeddings", "yes"),
     {"config.json", "tie_word_embeddings", "yes"}},
};

class HostileFolder : public testing::TestWithParam<Case> {};

TEST_P(HostileFolder, IsRefused) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  ASSERT_NO_THROW(model::Checkpoint::open(dir.path().string()));
  GetParam().spoil(dir);
  test::expect_refused([&] { model::Checkpoint::open(dir.path().string()); }, GetParam().words);
}

INSTANTIATE_TEST_SUITE_P(All, HostileFolder, testing::ValuesIn(kCases),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HostilePath, IsNamed) {
  const TempDir dir;
  test::expect_refused([&] { model::Checkpoint::open(dir / "nothing"); },
                       {"nothing", "no such file"});
}

TEST(HostileTensor, AskedForWithAnotherShape) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  const auto checkpoint = model::Checkpoint::open(dir.path().string());
  test::expect_refused([&] { checkpoint->tensor(kEmbed, 320, 65); },
                       {kWeights, kEmbed, "[320, 64]", "[320, 65]"});
  test::expect_refused([&] { checkpoint->tensor("nothing", 1, 1); }, {"nothing", "missing"});
}

}  // namespace
}  // namespace kvx
