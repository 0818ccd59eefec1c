// What the CUDA engine refuses, in the words of the CPU engine where both do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/api/error.h"
#include "tests/gpu/engine_pair.h"
#include "tests/support/expect_refused.h"
#include "tests/support/model_writer.h"

namespace kvx::test {
namespace {

using model::CacheMode;
using model::Chunk;

class DeviceEngineRefusals : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

// The message of an Error; empty if there was none.
template <class Run>
std::string message_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// Both engines refuse with the same words.
template <class Run>
void expect_both_refuse(EnginePair& engines, Run run, const std::string& words) {
  const std::string cpu = message_of([&] { run(engines.cpu(), true); });
  const std::string device = message_of([&] { run(engines.device(), false); });
  EXPECT_EQ(device, cpu);
  EXPECT_NE(device.find(words), std::string::npos) << device;
}

TinyModelSpec spec_of(const char* architecture) {
  TinyModelSpec spec;
  spec.architecture = architecture;
  return spec;
}

// The tiny model with one weight replaced.
std::unique_ptr<model::Checkpoint> spoilt(const TempDir& folder, const TinyModelSpec& spec,
                                          const char* name, size_t element, float value) {
  auto entries = tiny_safetensors(spec);
  const auto entry = std::ranges::find(entries, name, &SafetensorsEntry::name);
  entry->bytes.replace(4 * element, 4, le_bytes(value));
  write_tiny_model(folder.path(), spec);
  write_file(folder / "model.safetensors", safetensors_file(entries));
  return model::Checkpoint::open(folder.path().string());
}

void ignore(int64_t, int64_t, const float*) {}

TEST_F(DeviceEngineRefusals, WeightsThatAreNotFinite) {
  TinyModelSpec spec = spec_of("Qwen3ForCausalLM");
  spec.attention_bias = true;
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.bias",
        "model.layers.0.self_attn.q_norm.weight", "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.mlp.up_proj.weight", "model.norm.weight"}) {
    for (const float value : {HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
      const TempDir folder;
      const auto checkpoint = spoilt(folder, spec, name, 5, value);
      const std::string cpu = message_of([&] { const model::Model model(*checkpoint); });
      const std::string device = message_of([&] { gpu::load_model(*checkpoint); });
      EXPECT_EQ(device, cpu);
      EXPECT_NE(device.find(name), std::string::npos) << device;
    }
  }
}

TEST_F(DeviceEngineRefusals, HeadDimsWithoutKernels) {
  TinyModelSpec spec = spec_of("LlamaForCausalLM");
  for (const int64_t dim : {20, 264}) {
    spec.head_dim = dim;
    const TempDir folder;
    write_tiny_model(folder.path(), spec);
    const auto checkpoint = model::Checkpoint::open(folder.path().string());
    expect_refused([&] { gpu::load_model(*checkpoint); },
                   {"head dim " + std::to_string(dim), "multiples of 8 up to 256"});
  }
}

TEST_F(DeviceEngineRefusals, TokensAndPositionsOutsideTheModel) {
  const auto pair = ModelPair::tiny(spec_of("LlamaForCausalLM"));
  EnginePair engines(*pair, "fp:f32", CacheMode::kStreamed, {.sequences = 2});
  const auto seq = engines.open();
  const auto feed = [&](const Tokens& tokens) {
    return [&engines, seq, tokens](model::Transformer& engine, bool cpu) {
      const Chunk chunk{cpu ? seq.cpu : seq.device, tokens, false, false};
      engine.forward({&chunk, 1}, ignore);
    };
  };
  expect_both_refuse(engines, feed({1, 320}), "token id 320 is outside");
  expect_both_refuse(engines, feed({-1}), "token id -1 is outside");
  expect_both_refuse(engines, feed(Tokens(513, 1)), "position 512 is beyond");
  engines.forward({{seq, Tokens(500, 3)}});
  const auto go_on = [&](model::Transformer& engine, bool cpu) {
    engine.greedy(std::vector{cpu ? seq.cpu : seq.device}, std::vector<int32_t>{1}, 13);
  };
  expect_both_refuse(engines, go_on, "position 512 is beyond");
}

TEST_F(DeviceEngineRefusals, MistakesOfTheCaller) {
  const auto pair = ModelPair::tiny(spec_of("LlamaForCausalLM"));
  const auto engine = gpu::make_engine(pair->device, Descriptor::parse("fp:f16"),
                                       {.mode = CacheMode::kAll, .limits = {.sequences = 3}});
  const auto streamed =
      gpu::make_engine(pair->device, Descriptor::parse("fp:f16"), {.limits = {.sequences = 3}});
  const Tokens tokens = {1, 2, 3};
  const auto feed = [&](model::Transformer& to, SeqId seq, bool exact) {
    const Chunk chunk{seq, tokens, false, exact};
    to.forward({&chunk, 1}, ignore);
  };
  const SeqId a = engine->open(), b = streamed->open(), closed = streamed->open();
  feed(*engine, a, false);
  EXPECT_THROW(feed(*engine, a, false), std::logic_error);
  feed(*streamed, b, true);
  EXPECT_THROW(feed(*streamed, b, true), std::logic_error);
  streamed->close(closed);
  EXPECT_THROW(feed(*streamed, closed, false), std::logic_error);
  const std::vector<Chunk> twice = {{b, tokens, false, false}, {b, tokens, false, false}};
  EXPECT_THROW(streamed->forward(twice, ignore), std::logic_error);

  // A context whose layers are not all there.
  const SeqId c = streamed->open();
  const std::vector<float> rows(static_cast<size_t>(3 * 2 * 16), 1.0f);
  const ConstRows kv = dense_rows(rows.data(), 3, 2, 16);
  streamed->append(c, 1, kv, kv);
  EXPECT_THROW(streamed->append(c, 1, kv, kv), std::logic_error);
  EXPECT_THROW(feed(*streamed, c, false), std::logic_error);
  streamed->append(c, 0, kv, kv);
  EXPECT_EQ(streamed->length(c), 3);
  feed(*streamed, c, false);
  EXPECT_EQ(streamed->length(c), 6);
}

TEST_F(DeviceEngineRefusals, TextsBeyondTheSlidingWindow) {
  const TempDir folder;
  write_tiny_model(folder.path(), spec_of("MistralForCausalLM"));
  std::string config = read_file(folder / "config.json");
  const std::string null = "\"sliding_window\": null";
  config.replace(config.find(null), null.size(), "\"sliding_window\": 20");
  write_file(folder / "config.json", config);
  const ModelPair pair(*model::Checkpoint::open(folder.path().string()));
  EnginePair engines(pair, "fp:f32", CacheMode::kStreamed, {.sequences = 1});
  const auto seq = engines.open();
  engines.forward({{seq, Tokens(20, 4)}});
  const auto one_more = [&](model::Transformer& engine, bool cpu) {
    const Tokens tokens = {1};
    const Chunk chunk{cpu ? seq.cpu : seq.device, tokens, false, false};
    engine.forward({&chunk, 1}, ignore);
  };
  expect_both_refuse(engines, one_more, "sliding window of 20");
}

// A value projection that overflows binary16 for one token of the vocabulary.
TEST_F(DeviceEngineRefusals, KeysAndValuesThatAreNotFinite) {
  const TinyModelSpec spec = spec_of("LlamaForCausalLM");
  for (const char* tensor :
       {"model.layers.1.self_attn.v_proj.weight", "model.layers.0.self_attn.k_proj.weight"}) {
    const TempDir folder;
    const ModelPair pair(*spoilt(folder, spec, tensor, 64 * 19 + 3, 6e4f));
    EnginePair engines(pair, "int:k4v4", CacheMode::kStreamed, {.sequences = 3, .tokens = 100});
    const auto a = engines.open(), b = engines.open();
    const Tokens tokens = some_tokens(40, 19, spec.vocab);
    const auto pass = [&](model::Transformer& engine, bool cpu) {
      const std::vector<Chunk> chunks = {
          {cpu ? a.cpu : a.device, std::span(tokens).first(7), false, false},
          {cpu ? b.cpu : b.device, tokens, false, false}};
      engine.forward(chunks, ignore);
    };
    expect_both_refuse(engines, pass, "is not finite in f16");
    // The length is what it was; the CPU's layers differ now.
    EXPECT_EQ(engines.device().length(b.device), 0);

    EnginePair steps(pair, "int:k4v4", CacheMode::kStreamed, {.sequences = 3, .tokens = 100});
    const auto seq = steps.open();
    const auto decode = [&](model::Transformer& engine, bool cpu) {
      for (const int32_t& token : tokens) {
        const Chunk chunk{cpu ? seq.cpu : seq.device, {&token, 1}, false, false};
        engine.forward({&chunk, 1}, ignore);
      }
    };
    expect_both_refuse(steps, decode, "is not finite in f16");
    const auto free = steps.open();
    const auto greedy = [&](model::Transformer& engine, bool cpu) {
      engine.greedy(std::vector{cpu ? free.cpu : free.device}, std::vector<int32_t>{1}, 60);
    };
    expect_both_refuse(steps, greedy, "is not finite in f16");

    // Let through, they spoil the same numbers.
    EnginePair through(pair, "fp:f16", CacheMode::kStreamed, {.sequences = 2, .tokens = 100},
                       NonFinite::kPropagate);
    const auto spoils = through.open();
    through.feed(spoils, tokens, {17, 1});
  }
}

TEST_F(DeviceEngineRefusals, ContextsThatAreNotFinite) {
  const auto pair = ModelPair::tiny(spec_of("LlamaForCausalLM"));
  EnginePair engines(*pair, "int:k4v4,kaxis=channel", CacheMode::kContextExact, {.sequences = 1});
  const auto seq = engines.open();
  std::vector<float> rows(static_cast<size_t>(40 * 2 * 16), 0.5f);
  rows[17 * 32 + 16 + 3] = -70000.0f;
  std::vector<float> good(rows.size(), 0.5f);
  const auto append = [&](model::Transformer& engine, bool cpu) {
    engine.append(cpu ? seq.cpu : seq.device, 1, dense_rows<const float>(good.data(), 40, 2, 16),
                  dense_rows<const float>(rows.data(), 40, 2, 16));
  };
  expect_both_refuse(engines, append, "layer 1, v, head 1, token 17, channel 3: -70000");
}

TEST_F(DeviceEngineRefusals, MoreThanTheMemoryHolds) {
  const auto pair = ModelPair::tiny(spec_of("LlamaForCausalLM"));
  const auto make = [&](const gpu::EngineLimits& limits) {
    return gpu::make_engine(pair->device, Descriptor::parse("fp:f32"), {.limits = limits});
  };
  expect_refused([&] { make({.sequences = 4'000'000, .tokens = 512, .pass_rows = 512}); },
                 {"4000000 sequences of 512 tokens", "MiB", "free", "a batch of ", " fits"});
  expect_refused([&] { make({.sequences = 2, .pass_rows = 500'000'000}); },
                 {"not even one sequence fits"});
  // And nothing was taken.
  EXPECT_EQ(make({.sequences = 2})->open(), make({.sequences = 2})->open());
}

TEST_F(DeviceEngineRefusals, MoreSequencesThanPlanned) {
  const auto pair = ModelPair::tiny(spec_of("LlamaForCausalLM"));
  const auto engine = gpu::make_engine(pair->device, Descriptor::parse("fp:f16"),
                                       {.limits = {.sequences = 2, .tokens = 100}});
  const SeqId a = engine->open();
  const SeqId b = engine->open();
  const Tokens tokens(300, 1);  // a page has room for more than planned
  const auto feed = [&](SeqId seq, std::span<const int32_t> some) {
    const Chunk chunk{seq, some, false, false};
    engine->forward({&chunk, 1}, ignore);
  };
  EXPECT_THROW(feed(engine->open(), std::span(tokens).first(1)), Error);
  EXPECT_THROW(feed(a, tokens), Error);
  EXPECT_EQ(engine->length(a), 0);
  feed(a, std::span(tokens).first(100));
  feed(b, std::span(tokens).first(100));
}

}  // namespace
}  // namespace kvx::test
