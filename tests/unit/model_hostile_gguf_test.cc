// GGUF files that are broken or lie: each is refused with the file, the field and the value.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "tests/support/expect_refused.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::DType;
using test::GgufWriter;
using test::le_bytes;
using test::TempDir;
using test::TinyModelSpec;

constexpr uint64_t kHuge = uint64_t{1} << 60;
constexpr const char* kFile = "tiny.gguf";

struct Case {
  const char* name;
  std::function<std::string()> content;
  std::vector<std::string> words;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

GgufWriter metadata() { return test::tiny_gguf_metadata(TinyModelSpec{}); }

std::string whole(GgufWriter writer, DType matrices = DType::kF32) {
  test::add_tiny_gguf_tensors(writer, TinyModelSpec{}, matrices);
  return writer.file();
}

// A good file whose key is replaced, or added.
std::function<std::string()> with_key(const std::string& key,
                                      std::function<void(GgufWriter&)> add) {
  return [=] {
    GgufWriter writer = metadata();
    writer.erase(key);
    add(writer);
    return whole(writer);
  };
}

std::function<std::string()> with_u32(const std::string& key, uint32_t value) {
  return with_key(key, [=](GgufWriter& writer) { writer.u32(key, value); });
}

std::function<std::string()> with_f32(const std::string& key, float value) {
  return with_key(key, [=](GgufWriter& writer) { writer.f32(key, value); });
}

std::function<std::string()> with_string(const std::string& key, const std::string& value) {
  return with_key(key, [=](GgufWriter& writer) { writer.string(key, value); });
}

std::function<std::string()> without(const std::string& key) {
  return with_key(key, [](GgufWriter&) {});
}

// A good file with one more tensor.
std::function<std::string()> with_tensor(const std::string& name, const std::vector<uint64_t>& dims,
                                         uint32_t type, const std::string& bytes) {
  return [=] {
    GgufWriter writer = metadata();
    test::add_tiny_gguf_tensors(writer, TinyModelSpec{}, DType::kF32);
    return writer.tensor(name, dims, type, bytes).file();
  };
}

// Only metadata and one tensor info at an offset of the caller's choice.
std::function<std::string()> with_tensor_at(uint64_t offset, const std::string& bytes) {
  return [=] {
    GgufWriter writer = metadata();
    return writer.tensor_at("token_embd.weight", {8}, 0, offset, bytes).file();
  };
}

// The first bytes of a good file, then others.
std::function<std::string()> patched(size_t at, const std::string& bytes) {
  return [=] { return whole(metadata()).replace(at, bytes.size(), bytes); };
}

std::string header(uint64_t tensors, uint64_t values) {
  return "GGUF" + le_bytes<uint32_t>(3) + le_bytes(tensors) + le_bytes(values);
}

std::function<std::string()> one_value(const std::string& key, uint32_t type,
                                       const std::string& bytes) {
  return [=] { return GgufWriter().scalar(key, type, bytes).file(); };
}

std::string floats(int count, float value) {
  std::string out;
  for (int i = 0; i < count; ++i) out += le_bytes(value);
  return out;
}

// The keys of GGUF architecture `claimed`, the tensors of `architecture`.
std::function<std::string()> of_another(const std::string& architecture,
                                        const std::string& claimed) {
  return [=] {
    TinyModelSpec spec;
    spec.architecture = claimed == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM";
    GgufWriter writer = test::tiny_gguf_metadata(spec);
    spec.architecture = architecture;
    test::add_tiny_gguf_tensors(writer, spec, DType::kF32);
    return writer.file();
  };
}

const std::vector<Case> kCases = {
    {"EmptyFile", [] { return std::string(); }, {"magic", "truncated"}},
    {"OtherMagic", patched(0, "GGML"), {"magic", "'GGML'"}},
    {"VersionTwo", patched(4, le_bytes<uint32_t>(2)), {"version", "2"}},
    {"BigEndian", patched(4, std::string("\0\0\0\3", 4)), {"version", "50331648"}},
    {"CutInVersion", [] { return std::string("GGUF\3"); }, {"version", "truncated"}},
    {"CutInCounts", [] { return header(0, 0).substr(0, 20); }, {"key-value count", "truncated"}},
    {"TensorCountHuge", patched(8, le_bytes(kHuge)), {"tensor count", "1152921504606846976"}},
    {"ValueCountHuge", patched(16, le_bytes(kHuge)), {"key-value count", "1152921504606846976"}},
    {"ValueCountMore", [] { return header(0, 1) + std::string(16, '\0'); }, {"key 0", "''"}},
    {"KeyLengthHuge", [] { return header(0, 1) + le_bytes(kHuge) + "abcdefgh"; }, {"key 0", "1152921504606846976"}},
    {"KeyBadUtf8", one_value("a\xff", 4, "1234"), {"key 0", "a\\xff", "UTF-8"}},
    {"KeyTwice", [] { return whole(metadata().u32("llama.block_count", 2)); }, {"llama.block_count", "twice"}},
    {"TypeUnknown", one_value("abc", 13, "1234"), {"abc", "type 13"}},
    {"StringHuge", one_value("abc", 8, le_bytes(kHuge) + "x"), {"abc", "1152921504606846976", "truncated"}},
    {"ArrayHuge", one_value("abc", 9, le_bytes<uint32_t>(10) + le_bytes(kHuge) + "12345678"), {"abc", "1152921504606846976"}},
    {"ArrayOverflow", one_value("abc", 9, le_bytes<uint32_t>(10) + le_bytes(uint64_t{1} << 61) + "12345678"),
     {"abc", "2305843009213693952"}},
    {"ArrayOfHugeString", one_value("abc", 9, le_bytes<uint32_t>(8) + le_bytes<uint64_t>(1) + le_bytes(kHuge)),
     {"abc", "1152921504606846976"}},
    {"ArrayOfArrays", one_value("abc", 9, le_bytes<uint32_t>(9) + le_bytes<uint64_t>(1) + std::string(32, '\0')),
     {"abc", "array of arrays"}},
    {"ArrayOfUnknown", one_value("abc", 9, le_bytes<uint32_t>(77) + le_bytes<uint64_t>(1) + "1234"), {"abc", "type 77"}},
    // configuration
    {"NoArchitecture", without("general.architecture"), {"general.architecture", "missing"}},
    {"OtherArchitecturesKeys", with_string("general.architecture", "qwen2"), {"'qwen2.embedding_length'", "missing"}},
    {"Qwen2Moe", with_string("general.architecture", "qwen2moe"), {"'qwen2moe'", "missing mixture of experts"}},
    {"Gemma", with_string("general.architecture", "gemma2"), {"'gemma2'", "missing"}},
    {"ArchitectureNumber", with_u32("general.architecture", 7), {"general.architecture", "7", "string"}},
    {"ArchitectureLong", with_string("general.architecture", std::string(100000, 'x')), {"architecture", "xxx..."}},
    {"AlignmentZero", with_u32("general.alignment", 0), {"general.alignment", "0"}},
    {"AlignmentOdd", with_u32("general.alignment", 33), {"general.alignment", "33"}},
    {"NoLayers", without("llama.block_count"), {"llama.block_count", "missing"}},
    {"LayersZero", with_u32("llama.block_count", 0), {"llama.block_count", "0"}},
    {"LayersMore", with_u32("llama.block_count", 2000000000), {"model.layers.2.", "missing"}},
    {"LayersFewer", with_u32("llama.block_count", 1), {"blk.1.", "not part of a 1-layer"}},
    {"LayersFloat", with_f32("llama.block_count", 2.0f), {"llama.block_count", "2"}},
    {"LayersNegative", with_key("llama.block_count", [](GgufWriter& w) { w.scalar("llama.block_count", 5, le_bytes<int32_t>(-2)); }),
     {"llama.block_count", "-2"}},
    {"LayersHuge", with_key("llama.block_count", [](GgufWriter& w) { w.scalar("llama.block_count", 10, le_bytes(~uint64_t{0})); }),
     {"llama.block_count", "18446744073709551615"}},
    {"HiddenOther", with_u32("llama.embedding_length", 128), {"token_embd.weight", "[320, 64]", "[320, 128]"}},
    {"HeadsPerLayer", with_key("llama.attention.head_count", [](GgufWriter& w) { w.i32s("llama.attention.head_count", {4, 4}); }),
     {"llama.attention.head_count", "an array of 2 I32"}},
    {"KvHeadsNoDivisor", with_u32("llama.attention.head_count_kv", 3), {"llama.attention.head_count_kv", "3"}},
    {"ValueLengthOther", with_u32("llama.attention.value_length", 8), {"llama.attention.value_length", "8"}},
    {"PartialRotation", with_u32("llama.rope.dimension_count", 8), {"llama.rope.dimension_count", "8"}},
    {"RopeBaseZero", with_f32("llama.rope.freq_base", 0), {"llama.rope.freq_base", "0"}},
    {"RopeBaseNan", with_f32("llama.rope.freq_base", std::numeric_limits<float>::quiet_NaN()), {"llama.rope.freq_base", "nan"}},
    {"RopeScaling", with_string("llama.rope.scaling.type", "yarn"), {"llama.rope.scaling.type", "yarn", "missing"}},
    {"RopeScalingFactor", with_f32("llama.rope.scaling.factor", 4), {"llama.rope.scaling.factor", "not supported"}},
    {"RopeLinearWithoutFactor", with_string("llama.rope.scaling.type", "linear"), {"llama.rope.scaling.factor", "missing"}},
    {"RopeLinearFactorSmall", with_key("llama.rope.scaling.type", [](GgufWriter& w) {
       w.string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 0.5f);
     }),
     {"llama.rope.scaling.factor", "0.5", "from 1"}},
    {"RopeBaseBelowOne", with_f32("llama.rope.freq_base", 0.5f), {"llama.rope.freq_base", "0.5"}},
    {"RopeBaseHuge", with_f32("llama.rope.freq_base", 3e38f), {"llama.rope.freq_base", "e+38"}},
    {"SlidingWindowNegative", with_key("", [](GgufWriter& w) { w.scalar("llama.attention.sliding_window", 5, le_bytes<int32_t>(-2)); }),
     {"llama.attention.sliding_window", "-2"}},
    {"NoEps", without("llama.attention.layer_norm_rms_epsilon"), {"layer_norm_rms_epsilon", "missing"}},
    {"Experts", with_u32("llama.expert_count", 8), {"llama.expert_count", "8", "missing mixture of experts"}},
    {"UnknownKey", with_f32("llama.logit_scale", 2), {"llama.logit_scale", "not supported"}},
    {"TokensOther", with_key("tokenizer.ggml.tokens", [](GgufWriter& w) { w.strings("tokenizer.ggml.tokens", {"a", "b"}); }),
     {"tokenizer.ggml.tokens", "2 tokens", "320 rows"}},
    {"VocabOther", with_u32("llama.vocab_size", 321), {"llama.vocab_size", "321", "320 rows"}},
    // tensors
    {"NoTensors", [] { return metadata().file(); }, {"token_embd.weight", "missing"}},
    {"TensorMissing", [] { return metadata().tensor("token_embd.weight", {64, 320}, 0, std::string(4 * 64 * 320, '\0')).file(); },
     {"model.norm.weight", "missing"}},
    {"TensorTwice", with_tensor("output_norm.weight", {64}, 0, std::string(256, '\0')), {"output_norm.weight", "twice"}},
    {"TensorUnknown", with_tensor("blk.0.attn_q_norm.weight", {16}, 0, std::string(64, '\0')), {"blk.0.attn_q_norm.weight", "not part of"}},
    {"BiasAlone", with_tensor("blk.0.attn_q.bias", {64}, 0, std::string(256, '\0')), {"model.layers.0.self_attn.k_proj.bias", "missing"}},
    {"BiasInLayerOneOnly", with_tensor("blk.1.attn_q.bias", {64}, 0, std::string(256, '\0')), {"blk.1.attn_q.bias", "not part of"}},
    {"BiasShort", with_tensor("blk.0.attn_q.bias", {32}, 0, std::string(128, '\0')), {"blk.0.attn_q.bias", "[32]", "[64]"}},
    {"BiasQuantised", with_tensor("blk.0.attn_q.bias", {64}, 8, std::string(68, '\0')), {"blk.0.attn_q.bias", "bias of type Q8_0"}},
    {"Qwen2WithoutBias", of_another("LlamaForCausalLM", "qwen2"), {"model.layers.0.self_attn.q_proj.bias", "missing"}},
    {"Qwen3WithoutNorm", of_another("LlamaForCausalLM", "qwen3"), {"model.layers.0.self_attn.q_norm.weight", "missing"}},
    {"Qwen2WithNorms", of_another("Qwen3ForCausalLM", "qwen2"), {"model.layers.0.self_attn.q_proj.bias", "missing"}},
    {"Qwen3WithNormsOfQwen2", of_another("Qwen2ForCausalLM", "qwen3"), {"model.layers.0.self_attn.q_norm.weight", "missing"}},
    {"TensorHuggingFaceName", with_tensor("model.norm.weight", {64}, 0, std::string(256, '\0')), {"model.norm.weight", "not part of"}},
    {"NameEmpty", with_tensor("", {64}, 0, std::string(256, '\0')), {"name of tensor 21", "''"}},
    {"NameBadUtf8", with_tensor("\xc0\x80", {64}, 0, std::string(256, '\0')), {"name of tensor 21", "\\xc0\\x80"}},
    {"RankZero", with_tensor("x", {}, 0, ""), {"'x'", "0 dimensions"}},
    {"RankFive", with_tensor("x", {1, 1, 1, 1, 1}, 0, "1234"), {"'x'", "5 dimensions"}},
    {"DimensionZero", with_tensor("x", {64, 0}, 0, ""), {"'x'", "dimension 1 of 0"}},
    {"DimensionsOverflow", with_tensor("x", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, ""), {"'x'", "1099511627776"}},
    {"DimensionsHuge", with_tensor("x", {uint64_t{1} << 59}, 0, ""), {"'x'", "2305843009213693952 bytes"}},
    {"TypeQ2K", with_tensor("blk.0.x", {256}, 10, std::string(84, '\0')), {"Q2_K tensor 'blk.0.x'", "type not supported"}},
    {"TensorTypeUnknown", with_tensor("x", {256}, 99, ""), {"'x'", "type 99"}},
    {"RowNoMultiple", with_tensor("x", {48}, 8, std::string(51, '\0')), {"'x'", "rows of 48", "Q8_0", "32"}},
    {"RowNoMultipleOf256", with_tensor("x", {128}, 12, std::string(144, '\0')), {"'x'", "rows of 128", "Q4_K", "256"}},
    {"OffsetUnaligned", with_tensor_at(8, std::string(64, '\0')), {"token_embd.weight", "offset 8"}},
    {"OffsetBeyond", with_tensor_at(64, std::string(32, '\0')), {"token_embd.weight", "offset 64 of 32"}},
    {"OffsetHuge", with_tensor_at(~uint64_t{31}, std::string(32, '\0')), {"token_embd.weight", "18446744073709551584"}},
    {"DataShort", with_tensor_at(0, ""), {"token_embd.weight", "32 bytes", "0 bytes of data"}},
    {"TensorsOverlap", [] {
       return metadata().tensor("a", {16}, 0, std::string(64, '\0')).tensor_at("b", {16}, 0, 32, std::string(64, '\0')).file();
     },
     {"'b' at offset 32 overlaps tensor 'a'"}},
    {"ShapeOther", [] {
       GgufWriter writer = metadata();
       TinyModelSpec spec;
       spec.ffn = 128;
       test::add_tiny_gguf_tensors(writer, spec, DType::kF32);
       return writer.file();
     },
     {"blk.0.ffn_gate.weight", "[128, 64]", "[96, 64]"}},
    {"RopeFreqsLong", with_tensor("rope_freqs.weight", {16}, 0, std::string(64, '\0')), {"rope_freqs.weight", "[16]", "[8]"}},
    {"RopeFreqsZero", with_tensor("rope_freqs.weight", {8}, 0, std::string(32, '\0')), {"rope_freqs.weight", "0 at 0"}},
    {"RopeFreqsBelowOne", with_tensor("rope_freqs.weight", {8}, 0, floats(8, 1e-30f)), {"rope_freqs.weight", "1e-30 at 0"}},
    {"RopeFreqsInfinite", with_tensor("rope_freqs.weight", {8}, 0, floats(8, std::numeric_limits<float>::infinity())),
     {"rope_freqs.weight", "inf at 0"}},
    {"RopeFreqsBesideLinear", [] {
       TinyModelSpec spec;
       spec.rope_scaling = {.rule = num::RopeScaling::Rule::kLinear, .factor = 2};
       GgufWriter writer = test::tiny_gguf_metadata(spec);
       test::add_tiny_gguf_tensors(writer, spec, DType::kF32);
       return writer.tensor("rope_freqs.weight", {8}, 0, floats(8, 2)).file();
     },
     {"rope_freqs.weight", "beside scaled rotary frequencies"}},
};

class HostileGguf : public testing::TestWithParam<Case> {};

TEST_P(HostileGguf, IsRefused) {
  const TempDir dir;
  test::write_file(dir / kFile, GetParam().content());
  std::vector<std::string> words = GetParam().words;
  words.push_back(kFile);
  test::expect_refused([&] { model::Checkpoint::open(dir / kFile); }, words);
}

INSTANTIATE_TEST_SUITE_P(All, HostileGguf, testing::ValuesIn(kCases),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HostileGgufBase, IsGoodUntilSpoilt) {
  const TempDir dir;
  test::write_file(dir / kFile, whole(metadata()));
  EXPECT_NO_THROW(model::Checkpoint::open(dir / kFile));
}

}  // namespace
}  // namespace kvx
