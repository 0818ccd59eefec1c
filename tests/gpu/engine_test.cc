// The CUDA engine equals the CPU engine bit for bit: every architecture, scheme and cache mode, any
// chunking and batch, decoding through graphs.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/data.h"
#include "tests/gpu/absent.h"
#include "tests/gpu/engine_pair.h"
#include "tests/laws/cases.h"

namespace kvx::test {
namespace {

using model::CacheMode;
using model::DType;
using model::LayerTap;

class DeviceEngine : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

const ModelPair& scheme_model() {
  static const auto pair = [] {
    TinyModelSpec spec = scheme_model_spec(1024);
    spec.dtype = DType::kF16;
    return ModelPair::tiny(spec);
  }();
  return *pair;
}

Tokens tokens_of(const ModelPair& pair, int64_t count, uint32_t stream) {
  return some_tokens(count, stream, pair.config().vocab);
}

// A prompt in one pass, then token by token.
void expect_equal(const ModelPair& pair, const std::string& what,
                  const std::string& scheme = "fp:f16") {
  SCOPED_TRACE(what);
  EnginePair engines(pair, scheme, CacheMode::kStreamed, {.sequences = 1, .tokens = 128});
  const Tokens tokens = tokens_of(pair, 75, 3);
  const auto seq = engines.open();
  engines.feed(seq, std::span(tokens).first(70), {70});
  engines.feed(seq, std::span(tokens).subspan(70), {1});
  engines.expect_same_caches(seq);
}

TEST_F(DeviceEngine, EveryArchitecture) {
  for (const char* name :
       {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    for (const bool bias : {false, true}) {
      TinyModelSpec spec = small_tiny_model();
      spec.architecture = name;
      spec.head_dim = 48;  // heads * head_dim is not hidden
      if (bias && (spec.architecture == "MistralForCausalLM" || spec.has_qkv_bias())) continue;
      spec.attention_bias = bias;
      expect_equal(*ModelPair::tiny(spec), std::string(name) + (bias ? ", biases" : ""));
    }
  }
}

TEST_F(DeviceEngine, EveryWeightType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const bool tied : {false, true}) {
      TinyModelSpec spec = small_tiny_model();
      spec.dtype = dtype;
      spec.tied = tied;
      expect_equal(*ModelPair::tiny(spec),
                   std::string(model::dtype_name(dtype)) + (tied ? ", tied" : ""));
    }
  }
}

TEST_F(DeviceEngine, EveryContainerAndWidth) {
  TinyModelSpec spec = small_tiny_model();
  spec.hidden = 64;
  spec.heads = 4;
  spec.ffn = 96;
  for (const DType matrices : {DType::kF16, DType::kQ8_0, DType::kQ4_1}) {
    const TempDir folder;
    write_tiny_gguf(folder / "model.gguf", spec, matrices);
    expect_equal(ModelPair(*model::Checkpoint::open(folder / "model.gguf")),
                 std::string("gguf ") + model::dtype_name(matrices));
  }
  for (const int64_t dim : {8, 16, 80, 128, 256}) {
    spec.head_dim = dim;
    spec.hidden = 520;  // more than a block of a dot product
    spec.ffn = 172;     // no multiple of 8
    spec.dtype = dim % 16 == 0 ? DType::kBf16 : DType::kF32;
    expect_equal(*ModelPair::tiny(spec), "head dim " + std::to_string(dim));
  }
}

TEST_F(DeviceEngine, ScaledRotaryFrequencies) {
  using Rule = num::RopeScaling::Rule;
  for (const num::RopeScaling& scaling :
       {num::RopeScaling{.rule = Rule::kLinear, .factor = 4},
        num::RopeScaling{
            .rule = Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 512}}) {
    TinyModelSpec spec = small_tiny_model();
    spec.rope_scaling = scaling;
    expect_equal(*ModelPair::tiny(spec), "rule " + std::to_string(static_cast<int>(scaling.rule)));
  }
}

// Head dims whose rotary pairs are and are not apart by whole octets; normed keys and biased ones.
TEST_F(DeviceEngine, KeysBeforeRotation) {
  for (const char* name : {"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    for (const int64_t dim : {8, 40, 48, 128}) {
      TinyModelSpec spec = small_tiny_model();
      spec.architecture = name;
      spec.head_dim = dim;
      expect_equal(*ModelPair::tiny(spec), std::string(name) + ", head dim " + std::to_string(dim),
                   "kvquant:int4,kaxis=token,o0.1,s3");
    }
  }
}

class DeviceEngineSchemes : public DeviceEngine, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    if (const std::string reason = absent_on_device(GetParam()); !reason.empty())
      GTEST_SKIP() << reason;
  }
};

INSTANTIATE_TEST_SUITE_P(, DeviceEngineSchemes, testing::ValuesIn(laws::kCases),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

TEST_P(DeviceEngineSchemes, AnyChunking) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, GetParam(), CacheMode::kStreamed, {.sequences = 4, .tokens = 600});
  const Tokens tokens = tokens_of(pair, 300, 4);
  std::vector<std::vector<float>> logits;
  for (const std::vector<size_t>& sizes :
       std::vector<std::vector<size_t>>{{300}, {64}, {3, 70, 1}, {1}}) {
    const auto seq = engines.open();
    logits.push_back(engines.feed(seq, tokens, sizes));
    engines.expect_same_caches(seq);
    EXPECT_EQ(logits.back(), logits.front()) << sizes[0];
    if (HasFailure()) return;
  }
}

TEST_P(DeviceEngineSchemes, ExactPromptsAndContexts) {
  const ModelPair& pair = scheme_model();
  const Tokens context = tokens_of(pair, 265, 5), answer = tokens_of(pair, 40, 6);
  for (const CacheMode mode : {CacheMode::kPrefillExact, CacheMode::kContextExact}) {
    EnginePair engines(pair, GetParam(), mode, {.sequences = 3, .tokens = 400});
    const auto root = engines.open();
    engines.feed(root, context, {1000}, true);
    engines.expect_same_caches(root);
    const auto a = engines.fork(root), b = engines.fork(root);
    engines.close(root);
    engines.feed(a, answer, {1});
    engines.feed(b, answer, {33, 7});
    engines.expect_same_caches(a);
    engines.expect_same_caches(b);
    if (HasFailure()) return;
  }
}

TEST_P(DeviceEngineSchemes, ModeAll) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, GetParam(), CacheMode::kAll, {.sequences = 3, .tokens = 400});
  const Tokens a = tokens_of(pair, 270, 7), b = tokens_of(pair, 61, 8);
  const auto first = engines.open(), second = engines.open(), third = engines.open();
  engines.forward({{first, a}});
  engines.forward({{second, b}, {third, a}});
  engines.expect_same_caches(first);
  engines.expect_same_caches(second);
  engines.expect_same_caches(third);
}

// Sequences join, fork, pause and leave; one is exact.
TEST_P(DeviceEngineSchemes, BatchesOfAnyLengths) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, GetParam(), CacheMode::kContextExact, {.sequences = 5, .tokens = 600});
  const Tokens t = tokens_of(pair, 600, 9);
  const std::span<const int32_t> all(t);
  const auto a = engines.open(), b = engines.open();
  engines.forward({{a, all.first(130), true}, {b, all.subspan(3, 7)}});
  const auto c = engines.open();
  engines.forward({{c, all.subspan(50, 260)}, {a, all.subspan(130, 1)}, {b, all.subspan(9, 40)}});
  const auto d = engines.fork(c);
  for (size_t step = 0; step < 6; ++step) {
    engines.forward({{d, all.subspan(310 + step, 1)},
                     {a, all.subspan(131 + step, 1)},
                     {b, all.subspan(60 + step, 1)},
                     {c, all.subspan(320 + step, 1)}});
  }
  engines.close(a);
  const auto e = engines.open();
  engines.forward({{e, all.first(200)}, {d, all.subspan(316, 90)}, {c, all.subspan(326, 1)}});
  for (size_t step = 0; step < 6; ++step)
    engines.forward({{e, all.subspan(200 + step, 1)}, {b, all.subspan(66 + step, 1)}});
  for (const auto seq : {b, c, d, e}) engines.expect_same_caches(seq);
}

TEST_P(DeviceEngineSchemes, GreedyChoices) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, GetParam(), CacheMode::kPrefillExact, {.sequences = 2, .tokens = 600});
  const Tokens prompt = tokens_of(pair, 240, 10);
  const auto a = engines.open(), b = engines.open();
  engines.forward({{a, prompt, true}, {b, std::span(prompt).first(9), true}});
  const std::vector<int32_t> first = {5, 250};
  const auto cpu = engines.cpu().greedy(std::vector{a.cpu, b.cpu}, first, 40);
  const auto device = engines.device().greedy(std::vector{a.device, b.device}, first, 40);
  EXPECT_EQ(device, cpu);
  engines.expect_same_caches(a);
  engines.expect_same_caches(b);
  engines.forward({{a, std::span(prompt).first(3)}, {b, std::span(prompt).first(1)}});
}

TEST_F(DeviceEngine, GreedyOverManyStepsAndBothWays) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, "kivi:k2v2,r32", CacheMode::kStreamed, {.sequences = 3, .tokens = 700});
  std::vector<EnginePair::Seq> seqs;
  std::vector<SeqId> cpu_ids, device_ids;
  const Tokens prompt = tokens_of(pair, 250, 11);
  for (const size_t length : {250, 1, 77}) {
    seqs.push_back(engines.open());
    engines.forward({{seqs.back(), std::span(prompt).first(length)}});
    cpu_ids.push_back(seqs.back().cpu);
    device_ids.push_back(seqs.back().device);
  }
  std::vector<int32_t> fed = {3, 4, 5};
  const auto cpu = engines.cpu().greedy(cpu_ids, fed, 310);
  const auto device = engines.device().greedy(device_ids, fed, 310);
  ASSERT_EQ(device.size(), cpu.size());
  const auto [at, other] = std::ranges::mismatch(device, cpu);
  EXPECT_EQ(at, device.end()) << "step " << (at - device.begin()) / 3;
  for (const auto seq : seqs) engines.expect_same_caches(seq);
  // With a tap there are no graphs; the choices are the same.
  int layers = 0;
  engines.device().set_tap([&](const LayerTap&) { ++layers; });
  fed.assign(cpu.end() - 3, cpu.end());
  EXPECT_EQ(engines.device().greedy(device_ids, fed, 5), engines.cpu().greedy(cpu_ids, fed, 5));
  EXPECT_EQ(layers, 5 * pair.config().layers);
  EXPECT_TRUE(engines.device().greedy(device_ids, fed, 0).empty());
}

TEST_F(DeviceEngine, DecodesThreeHundredSteps) {
  const ModelPair& pair = scheme_model();
  for (const char* scheme :
       {"fp:f32", "kivi:k2v2", "int:k4v4,kaxis=channel", "fp8:e4m3,scale=token",
        "kvquant:nuq3,o0.01,s1,profile=paper,cb=#00000003"}) {
    EnginePair engines(pair, scheme, CacheMode::kStreamed, {.sequences = 2, .tokens = 900});
    const Tokens tokens = tokens_of(pair, 900, 12);
    const auto a = engines.open(), b = engines.open();
    engines.forward({{a, std::span(tokens).first(230)}, {b, std::span(tokens).first(500)}});
    for (size_t step = 0; step < 300 && !HasFailure(); ++step) {
      engines.forward({{a, std::span(tokens).subspan(230 + step, 1)},
                       {b, std::span(tokens).subspan(500 + step, 1)}},
                      {}, ", step " + std::to_string(step));
    }
    engines.expect_same_caches(a);
    engines.expect_same_caches(b);
  }
}

TEST_F(DeviceEngine, WantedRowsAndManyOfThem) {
  TinyModelSpec spec = small_tiny_model();
  spec.max_positions = 2048;
  const auto pair = ModelPair::tiny(spec);
  // More rows than are handed over at a time, and more than the engine has taken memory for.
  EnginePair engines(*pair, "fp:f16", CacheMode::kStreamed,
                     {.sequences = 3, .tokens = 1200, .pass_rows = 64});
  const Tokens tokens = tokens_of(*pair, 1200, 13);
  std::vector<EnginePair::Part> parts;
  for (const size_t count : {1100, 1, 1050})
    parts.push_back({engines.open(), std::span(tokens).first(count)});
  engines.forward(parts);
  std::vector<int64_t> want = {3, 4, 9, 9, 0};
  engines.forward({{parts[1].seq, std::span(tokens).first(10)}}, want);
  want = {0};
  engines.forward({{parts[1].seq, std::span(tokens).first(1)}}, want);
  EXPECT_THROW(engines.device().forward(
                   std::vector<model::Chunk>{{parts[1].seq.device, std::span(tokens).first(1)}},
                   [](int64_t, int64_t, const float*) {}, std::vector<int64_t>{1}),
               std::logic_error);
  engines.device().forward({}, [](int64_t, int64_t, const float*) { FAIL(); });
}

TEST_F(DeviceEngine, TapsGiveWhatTheLayersComputed) {
  TinyModelSpec spec = small_tiny_model();
  spec.architecture = "Qwen3ForCausalLM";
  spec.layers = 3;
  const auto pair = ModelPair::tiny(spec);
  struct Copy {
    std::vector<float> values[6];
    int64_t tokens = 0;
  };
  const auto copy_to = [](std::map<int, Copy>& all) {
    return [&all](const LayerTap& tap) {
      Copy& copy = all[tap.layer];
      copy.tokens = tap.q.tokens;
      const ConstRows rows[] = {tap.q, tap.k, tap.v, tap.q_pre, tap.k_pre, tap.out};
      for (int i = 0; i < 6; ++i) {
        copy.values[i].clear();
        for (int64_t t = 0; t < rows[i].tokens; ++t)
          for (int h = 0; h < rows[i].heads; ++h)
            copy.values[i].insert(copy.values[i].end(), rows[i].row(t, h),
                                  rows[i].row(t, h) + rows[i].dim);
      }
    };
  };
  const Tokens tokens = tokens_of(*pair, 290, 14);
  const std::pair<const char*, std::vector<int>> cases[] = {
      {"int:k4v4", {}}, {"int:k4v4", {2, 0}}, {"kvquant:int4,kaxis=token", {2, 0}}};
  for (const auto& [scheme, layers] : cases) {
    EnginePair engines(*pair, scheme, CacheMode::kStreamed, {.sequences = 2, .tokens = 300});
    std::map<int, Copy> cpu, device;
    engines.cpu().set_tap(copy_to(cpu), layers);
    engines.device().set_tap(copy_to(device), layers);
    const auto seq = engines.open();
    for (const size_t first : {0, 280}) {
      engines.forward({{seq, std::span(tokens).subspan(first, first == 0 ? 280 : 1)}});
      ASSERT_EQ(device.size(), cpu.size());
      for (const auto& [layer, copy] : cpu) {
        ASSERT_EQ(device.count(layer), 1u);
        for (int i = 0; i < 6; ++i) {
          ASSERT_EQ(device[layer].values[i].size(), copy.values[i].size());
          expect_same_bits(device[layer].values[i].data(), copy.values[i].data(),
                           static_cast<int64_t>(copy.values[i].size()), spec.head_dim,
                           "layer " + std::to_string(layer) + ", tensor " + std::to_string(i));
        }
      }
    }
    EXPECT_EQ(cpu.size(), layers.empty() ? 3u : 2u);
  }
}

// Contexts computed by one engine serve another, on either side.
TEST_F(DeviceEngine, TakesContextsOfOtherEngines) {
  const ModelPair& pair = scheme_model();
  const auto& c = pair.config();
  for (const char* scheme :
       {"kivi:k2v2,r32", "int:k4v4", "fp:f32", "kvquant:int3,kaxis=token,s4"}) {
    EnginePair source(pair, "fp:f32", CacheMode::kContextExact, {.sequences = 1, .tokens = 400});
    // A pass has room for less than the context.
    EnginePair target(pair, scheme, CacheMode::kContextExact,
                      {.sequences = 2, .tokens = 400, .pass_rows = 100});
    const auto seq = target.open();
    const bool unrotated = target.device().cache(0).traits().keys == KeySpace::kPreRope;
    const auto key = [&](const LayerTap& tap) { return unrotated ? tap.k_pre : tap.k; };
    int layers = 0;
    source.device().set_tap([&](const LayerTap& tap) {
      target.device().append(seq.device, tap.layer, key(tap), tap.v);
      ++layers;
    });
    source.cpu().set_tap(
        [&](const LayerTap& tap) { target.cpu().append(seq.cpu, tap.layer, key(tap), tap.v); });
    const Tokens context = tokens_of(pair, 333, 15), question = tokens_of(pair, 20, 16);
    source.feed(source.open(), context, {1000}, true);
    EXPECT_EQ(layers, c.layers);
    target.expect_same_caches(seq);
    target.feed(seq, question, {5, 1});
    target.expect_same_caches(seq);
  }
}

TEST_F(DeviceEngine, ProjectsRowsToTheirLogits) {
  const ModelPair& pair = scheme_model();
  EnginePair engines(pair, "fp:f16", CacheMode::kStreamed,
                     {.sequences = 2, .tokens = 400, .pass_rows = 16});
  const auto seq = engines.open();
  const Tokens tokens = tokens_of(pair, 50, 17);
  const Outputs out = engines.forward({{seq, tokens}});
  std::vector<float> logits(out.logits.size());
  engines.device().project(out.hidden.data(), 50, logits.data());
  EXPECT_EQ(logits, out.logits);
  // Within a call of the sink, and the next parts are none the worse for it.
  const auto other = engines.open();
  const std::vector<model::Chunk> chunks = {{other.device, tokens}};
  std::vector<float> given, projected;
  engines.device().forward(chunks, [&](int64_t, int64_t count, const float* values) {
    given.insert(given.end(), values, values + count * pair.config().vocab);
    std::vector<float> again(static_cast<size_t>(count * pair.config().vocab));
    engines.device().project(engines.device().hidden(), count, again.data());
    projected.insert(projected.end(), again.begin(), again.end());
  });
  EXPECT_EQ(given, out.logits);
  EXPECT_EQ(projected, out.logits);
}

TEST_F(DeviceEngine, AManyLayeredModelAndItsOwnText) {
  KVX_NEED_DATA(path, "models/stories260K/hf");
  const ModelPair pair(*model::Checkpoint::open(path));
  for (const char* scheme : {"fp:f32", "int:k4v4,kaxis=channel"}) {
    EnginePair engines(pair, scheme, CacheMode::kStreamed, {.sequences = 2, .tokens = 256});
    const auto seq = engines.open();
    const std::vector<int32_t> bos = {1};
    const auto cpu = engines.cpu().greedy(std::vector{seq.cpu}, bos, 200);
    EXPECT_EQ(engines.device().greedy(std::vector{seq.device}, bos, 200), cpu);
    engines.expect_same_caches(seq);
    engines.feed(engines.open(), cpu, {200});
  }
}

TEST_F(DeviceEngine, ARealModel) {
  KVX_NEED_MODEL(path, "smollm2-135m.gguf");
  const ModelPair pair(*model::Checkpoint::open(path));
  EnginePair engines(pair, "kivi:k2v2,r32", CacheMode::kStreamed, {.sequences = 2, .tokens = 300});
  const Tokens tokens = tokens_of(pair, 256, 18);
  const auto seq = engines.open();
  engines.feed(seq, std::span(tokens).first(250), {250});
  engines.feed(seq, std::span(tokens).subspan(250), {1});
  engines.expect_same_caches(seq);
}

}  // namespace
}  // namespace kvx::test
