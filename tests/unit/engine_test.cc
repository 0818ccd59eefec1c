// The engine on a small seeded model: equal to the transformer written out from the definitions,
// and the same bits at any thread count, batch and chunking, for every cache mode.
#include "sim/model/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <span>
#include <vector>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/num/attention.h"
#include "sim/num/isa.h"
#include "sim/num/reduce.h"
#include "sim/num/rope.h"
#include "tests/support/expect_refused.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::model {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

Tokens some_tokens(int64_t count, uint32_t seed, int64_t vocab) {
  Tokens tokens;
  uint32_t state = seed;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab)));
  }
  return tokens;
}

class TinyModel {
 public:
  explicit TinyModel(const test::TinyModelSpec& spec) {
    test::write_tiny_model(folder_.path(), spec);
    checkpoint_ = Checkpoint::open(folder_.path().string());
    model_ = std::make_unique<Model>(*checkpoint_);
  }
  const Model& model() const { return *model_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  test::TempDir folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Model> model_;
};

const TinyModel& small_model() {
  static const TinyModel model(test::small_tiny_model());
  return model;
}

// Logits of one pass over whole sequences (one chunk each).
std::vector<Logits> run_batch(Engine& engine, const std::vector<Tokens>& batch, int64_t vocab) {
  std::vector<Chunk> chunks;
  std::vector<std::pair<size_t, int64_t>> owner;  // of each row of the pass
  for (size_t i = 0; i < batch.size(); ++i) {
    chunks.push_back({engine.open(), batch[i], true, false});
    for (size_t t = 0; t < batch[i].size(); ++t) owner.emplace_back(i, static_cast<int64_t>(t));
  }
  std::vector<Logits> out(batch.size());
  for (size_t i = 0; i < batch.size(); ++i)
    out[i].resize(batch[i].size() * static_cast<size_t>(vocab));
  engine.forward(chunks, [&](int64_t first, int64_t count, const float* logits) {
    for (int64_t r = 0; r < count; ++r) {
      const auto [sequence, token] = owner[static_cast<size_t>(first + r)];
      std::copy_n(logits + r * vocab, vocab, out[sequence].begin() + token * vocab);
    }
  });
  return out;
}

// One sequence in chunks of the given sizes.
Logits run_chunks(Engine& engine, const Tokens& tokens, const std::vector<int64_t>& sizes,
                  int64_t vocab) {
  Logits out;
  const SeqId seq = engine.open();
  size_t at = 0;
  for (size_t i = 0; at < tokens.size(); ++i) {
    const size_t count = std::min(tokens.size() - at, static_cast<size_t>(sizes[i % sizes.size()]));
    const Chunk chunk{seq, {tokens.data() + at, count}, at + count == tokens.size(), false};
    engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
      out.insert(out.end(), logits, logits + rows * vocab);
    });
    at += count;
  }
  return out;
}

void expect_same_bits(const Logits& a, const Logits& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i])) << what << " at " << i;
}

CacheFactory scheme(const char* descriptor) { return ref::factory(Descriptor::parse(descriptor)); }

// A decoder of the Llama family (Mistral, Qwen2, Qwen3 too), straight from the definitions of
// `ieee`: one position after another, scalar loops.
Logits plain_decoder(const Checkpoint& checkpoint, const Tokens& tokens) {
  const ModelConfig& c = checkpoint.config();
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    const TensorRef ref = checkpoint.tensor(name, rows, cols);
    std::vector<float> out(static_cast<size_t>(rows * cols));
    for (int64_t r = 0; r < rows; ++r)
      read_row(ref, r, {out.data() + r * cols, static_cast<size_t>(cols)});
    return out;
  };
  const auto multiply = [](const std::vector<float>& w, const std::vector<float>& x) {
    std::vector<float> y(w.size() / x.size());
    for (size_t i = 0; i < y.size(); ++i)
      y[i] = num::plain::dot({w.data() + i * x.size(), x.size()}, x);
    return y;
  };
  const auto norm = [&](const std::vector<float>& x, const std::vector<float>& w) {
    std::vector<float> y(x.size());
    num::plain::rms_norm(x, w, c.rms_eps, y);
    return y;
  };
  const auto add_bias = [&](std::vector<float>& y, const std::string& name) {
    const std::vector<float> bias = matrix(name, static_cast<int64_t>(y.size()), 1);
    for (size_t i = 0; i < y.size(); ++i) y[i] = y[i] + bias[i];
  };
  const auto norm_heads = [&](std::vector<float>& rows, const std::string& name) {
    const std::vector<float> weight = matrix(name, 1, c.head_dim);
    for (auto head = rows.begin(); head != rows.end(); head += c.head_dim)
      std::ranges::copy(norm({head, head + c.head_dim}, weight), head);
  };
  const size_t dim = static_cast<size_t>(c.head_dim);
  const std::vector<uint64_t> steps =
      num::rope_steps(static_cast<int>(dim), c.rope_theta, {}, c.rope_scaling);
  const std::vector<float> embedding = matrix("model.embed_tokens.weight", c.vocab, c.hidden);
  const std::vector<float> head = c.tied ? embedding : matrix("lm_head.weight", c.vocab, c.hidden);
  std::map<std::pair<int64_t, size_t>, std::vector<std::vector<float>>> keys,
      values;  // [layer, head] -> rows
  Logits logits;
  for (size_t t = 0; t < tokens.size(); ++t) {
    std::vector<float> x(embedding.begin() + tokens[t] * c.hidden,
                         embedding.begin() + (tokens[t] + 1) * c.hidden);
    std::vector<float> sin(dim / 2), cos(dim / 2);
    num::rope_table(steps, static_cast<int64_t>(t), sin, cos);
    for (int64_t layer = 0; layer < c.layers; ++layer) {
      const std::string name = "model.layers." + std::to_string(layer) + ".";
      const std::vector<float> h = norm(x, matrix(name + "input_layernorm.weight", 1, c.hidden));
      std::vector<float> q =
          multiply(matrix(name + "self_attn.q_proj.weight", c.heads * c.head_dim, c.hidden), h);
      std::vector<float> k =
          multiply(matrix(name + "self_attn.k_proj.weight", c.kv_heads * c.head_dim, c.hidden), h);
      std::vector<float> v =
          multiply(matrix(name + "self_attn.v_proj.weight", c.kv_heads * c.head_dim, c.hidden), h);
      if (c.qkv_bias) {
        add_bias(q, name + "self_attn.q_proj.bias");
        add_bias(k, name + "self_attn.k_proj.bias");
        add_bias(v, name + "self_attn.v_proj.bias");
      }
      if (c.qk_norm) {
        norm_heads(q, name + "self_attn.q_norm.weight");
        norm_heads(k, name + "self_attn.k_norm.weight");
      }
      for (size_t i = 0; i < static_cast<size_t>(c.heads); ++i)
        num::rope_rotate({q.data() + i * dim, dim}, sin, cos);
      for (size_t i = 0; i < static_cast<size_t>(c.kv_heads); ++i) {
        num::rope_rotate({k.data() + i * dim, dim}, sin, cos);
        keys[{layer, i}].emplace_back(k.begin() + static_cast<int64_t>(i * dim),
                                      k.begin() + static_cast<int64_t>((i + 1) * dim));
        values[{layer, i}].emplace_back(v.begin() + static_cast<int64_t>(i * dim),
                                        v.begin() + static_cast<int64_t>((i + 1) * dim));
      }
      std::vector<float> attended(q.size());
      for (size_t i = 0; i < static_cast<size_t>(c.heads); ++i) {
        const size_t kv = i / static_cast<size_t>(c.heads / c.kv_heads);
        std::vector<num::AttentionRow> rows;
        for (size_t s = 0; s <= t; ++s)
          rows.push_back({static_cast<int64_t>(s), keys[{layer, kv}][s].data(),
                          values[{layer, kv}][s].data()});
        num::plain::attend({q.data() + i * dim, dim}, rows, {attended.data() + i * dim, dim});
      }
      std::vector<float> o = multiply(
          matrix(name + "self_attn.o_proj.weight", c.hidden, c.heads * c.head_dim), attended);
      if (c.output_bias) add_bias(o, name + "self_attn.o_proj.bias");
      for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + o[i];
      const std::vector<float> f =
          norm(x, matrix(name + "post_attention_layernorm.weight", 1, c.hidden));
      const std::vector<float> gate =
          multiply(matrix(name + "mlp.gate_proj.weight", c.ffn, c.hidden), f);
      const std::vector<float> up =
          multiply(matrix(name + "mlp.up_proj.weight", c.ffn, c.hidden), f);
      std::vector<float> inner(gate.size());
      num::plain::swiglu(gate, up, inner);
      const std::vector<float> down =
          multiply(matrix(name + "mlp.down_proj.weight", c.hidden, c.ffn), inner);
      for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + down[i];
    }
    const std::vector<float> row =
        multiply(head, norm(x, matrix("model.norm.weight", 1, c.hidden)));
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

void expect_equals_plain_decoder(const test::TinyModelSpec& spec) {
  const TinyModel tiny(spec);
  const Tokens tokens = some_tokens(40, 3, spec.vocab);
  const Logits expected = plain_decoder(tiny.checkpoint(), tokens);
  for (const num::Isa isa : {num::Isa::kAvx2, num::machine_isa()}) {
    num::set_active_isa(isa);
    Engine engine(tiny.model(), scheme("fp:f32"), CacheMode::kStreamed, 2);
    expect_same_bits(run_batch(engine, {tokens}, spec.vocab)[0], expected, spec.architecture);
  }
}

TEST(EngineTest, EqualsTheTransformerOfTheDefinitions) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const bool tied : {false, true}) {
      test::TinyModelSpec spec = test::small_tiny_model();
      spec.dtype = dtype;
      spec.tied = tied;
      expect_equals_plain_decoder(spec);
    }
  }
}

TEST(EngineTest, EveryArchitectureEqualsItsDefinition) {
  for (const char* name :
       {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    test::TinyModelSpec spec = test::small_tiny_model();
    spec.architecture = name;
    spec.head_dim = 48;  // heads * head_dim is not hidden
    expect_equals_plain_decoder(spec);
  }
}

TEST(EngineTest, AttentionBiasesAreAddedWhereTheConfigurationSaysSo) {
  for (const char* name : {"LlamaForCausalLM", "Qwen3ForCausalLM"}) {
    test::TinyModelSpec spec = test::small_tiny_model();
    spec.architecture = name;
    spec.attention_bias = true;
    expect_equals_plain_decoder(spec);
  }
}

TEST(EngineTest, ScaledRotaryFrequenciesAreUsed) {
  const auto steps_of = [](const num::RopeScaling& scaling) {
    test::TinyModelSpec spec = test::small_tiny_model();
    spec.rope_scaling = scaling;
    expect_equals_plain_decoder(spec);
    const TinyModel tiny(spec);
    const std::span<const uint64_t> steps = tiny.model().rope_steps();
    return std::vector<uint64_t>(steps.begin(), steps.end());
  };
  using Rule = num::RopeScaling::Rule;
  const auto plain = steps_of({});
  const auto linear = steps_of({.rule = Rule::kLinear, .factor = 4});
  const auto llama3 =
      steps_of({.rule = Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 512});
  EXPECT_EQ(linear[0], plain[0] / 4);
  EXPECT_EQ(llama3[0], plain[0]);        // turns fast: kept
  EXPECT_EQ(llama3[15], plain[15] / 8);  // turns slowly: divided
}

TEST(EngineTest, RefusesTextsBeyondTheSlidingWindow) {
  const test::TempDir folder;
  test::TinyModelSpec spec = test::small_tiny_model();
  spec.architecture = "MistralForCausalLM";
  test::write_tiny_model(folder.path(), spec);
  std::string config = test::read_file(folder / "config.json");
  const std::string null = "\"sliding_window\": null";
  config.replace(config.find(null), null.size(), "\"sliding_window\": 20");
  const auto full = Checkpoint::open(folder.path().string());
  test::write_file(folder / "config.json", config);
  const auto windowed = Checkpoint::open(folder.path().string());
  EXPECT_EQ(full->config().sliding_window, 0);
  EXPECT_EQ(windowed->config().sliding_window, 20);
  const auto logits = [&](const Checkpoint& checkpoint, int64_t count) {
    const Model model(checkpoint);
    Engine engine(model, scheme("fp:f32"), CacheMode::kStreamed, 1);
    return run_chunks(engine, some_tokens(count, 4, spec.vocab), {7}, spec.vocab);
  };
  // The last of 20 positions still reads the first: 19 - 0 < 20.
  expect_same_bits(logits(*windowed, 20), logits(*full, 20), "within the window");
  EXPECT_NO_THROW(logits(*full, 21));
  test::expect_refused([&] { logits(*windowed, 21); }, {"21 positions", "sliding window of 20"});
}

struct ModeCase {
  const char* descriptor;
  CacheMode mode;
};

class EngineModeTest : public testing::TestWithParam<ModeCase> {};
class EngineStreamedTest : public testing::TestWithParam<const char*> {};

std::string test_name(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

TEST_P(EngineModeTest, ThreadsAndBatchChangeNothing) {
  const Model& model = small_model().model();
  const int64_t vocab = model.config().vocab;
  const std::vector<Tokens> batch = {some_tokens(300, 1, vocab), some_tokens(1, 2, vocab),
                                     some_tokens(77, 3, vocab)};
  std::vector<Logits> alone;
  for (const Tokens& tokens : batch) {
    Engine engine(model, scheme(GetParam().descriptor), GetParam().mode, 1);
    alone.push_back(run_batch(engine, {tokens}, vocab)[0]);
  }
  for (const int threads : {1, 2, 3, 7}) {
    Engine engine(model, scheme(GetParam().descriptor), GetParam().mode, threads);
    const std::vector<Logits> together = run_batch(engine, batch, vocab);
    for (size_t i = 0; i < batch.size(); ++i)
      expect_same_bits(together[i], alone[i],
                       std::to_string(threads) + " threads, sequence " + std::to_string(i));
  }
}

// The cache's own attend, called token by token, gives the attention output of the pass.
TEST_P(EngineStreamedTest, OnePassEqualsAppendAndAttendOfTheCache) {
  const Model& model = small_model().model();
  const Tokens tokens = some_tokens(300, 6, model.config().vocab);
  Engine engine(model, scheme(GetParam()), CacheMode::kStreamed, 2);
  int layers = 0;
  engine.set_tap([&](const LayerTap& tap) {
    const auto cache = scheme(GetParam())(engine.cache(tap.layer).config());
    const SeqId seq = cache->open();
    std::vector<float> out(static_cast<size_t>(tap.q.heads * tap.q.dim));
    const Rows out_row = dense_rows(out.data(), 1, tap.q.heads, tap.q.dim);
    for (int64_t t = 0; t < tap.q.tokens; ++t) {
      const Span span{seq, t, 1, false};
      cache->append(tap.k.slice(t, 1), tap.v.slice(t, 1), {&span, 1});
      cache->attend(tap.q.slice(t, 1), {&span, 1}, out_row);
      for (int h = 0; h < tap.q.heads; ++h) {
        for (int j = 0; j < tap.q.dim; ++j)
          ASSERT_EQ(std::bit_cast<uint32_t>(out_row.row(0, h)[j]),
                    std::bit_cast<uint32_t>(tap.out.row(t, h)[j]))
              << "layer " << tap.layer << " token " << t << " head " << h << " channel " << j;
      }
    }
    ++layers;
  });
  run_batch(engine, {tokens}, model.config().vocab);
  EXPECT_EQ(layers, model.config().layers);
}

INSTANTIATE_TEST_SUITE_P(Schemes, EngineModeTest,
                         testing::Values(ModeCase{"fp:f32", CacheMode::kStreamed},
                                         ModeCase{"kivi:k2v2,r32", CacheMode::kStreamed},
                                         ModeCase{"int:k3v2,kaxis=channel,vaxis=channel,g16,sym",
                                                  CacheMode::kStreamed},
                                         ModeCase{"kivi:k2v2,r32", CacheMode::kAll},
                                         ModeCase{"int:k2v2,kaxis=channel", CacheMode::kAll}),
                         [](const auto& tested) {
                           return test_name(std::string(tested.param.descriptor) + "_" +
                                            cache_mode_name(tested.param.mode));
                         });

INSTANTIATE_TEST_SUITE_P(Schemes, EngineStreamedTest,
                         testing::Values("fp:f32", "fp:bf16", "int:k4v3",
                                         "int:k3v2,kaxis=channel,vaxis=channel,g16,sym",
                                         "kivi:k2v2,r32", "kivi:k4v2,r0",
                                         "kivi:k2v4,r64,profile=paper"),
                         [](const auto& tested) { return test_name(tested.param); });

TEST(EngineTest, SchemesChangeTheLogits) {
  const Model& model = small_model().model();
  const Tokens tokens = some_tokens(200, 8, model.config().vocab);
  Engine base(model, scheme("fp:f32"), CacheMode::kStreamed, 2);
  Engine kivi(model, scheme("kivi:k2v2,r32"), CacheMode::kStreamed, 2);
  const Logits a = run_batch(base, {tokens}, model.config().vocab)[0];
  const Logits b = run_batch(kivi, {tokens}, model.config().vocab)[0];
  // Nothing is sealed for the first 32 queries but V and K are rounded to fp16, later everything
  // older is coded.
  EXPECT_NE(a, b);
}

TEST(EngineTest, GivesOnlyTheWantedRows) {
  const Model& model = small_model().model();
  const int64_t vocab = model.config().vocab;
  const Tokens tokens = some_tokens(50, 11, vocab);
  Engine engine(model, scheme("fp:f16"), CacheMode::kStreamed, 2);
  const Logits all = run_batch(engine, {tokens}, vocab)[0];
  const Chunk chunk{engine.open(), tokens, false, false};
  const std::vector<int64_t> want = {3, 49};
  Logits some;
  engine.forward(
      {&chunk, 1},
      [&](int64_t, int64_t rows, const float* logits) {
        some.insert(some.end(), logits, logits + rows * vocab);
      },
      want);
  expect_same_bits({some.begin(), some.begin() + vocab},
                   {all.begin() + 3 * vocab, all.begin() + 4 * vocab}, "row 3");
  expect_same_bits({some.begin() + vocab, some.end()}, {all.begin() + 49 * vocab, all.end()},
                   "row 49");
}

TEST(EngineTest, RefusesTokensAndPositionsOutsideTheModel) {
  const Model& model = small_model().model();
  Engine engine(model, scheme("fp:f32"), CacheMode::kStreamed, 1);
  const auto run = [&](const Tokens& tokens) {
    const Chunk chunk{engine.open(), tokens, false, false};
    engine.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {});
  };
  EXPECT_THROW(run({static_cast<int32_t>(model.config().vocab)}), Error);
  EXPECT_THROW(run({-1}), Error);
  EXPECT_THROW(run(Tokens(static_cast<size_t>(model.config().max_positions + 1), 1)), Error);
}

// A number that is none is refused with the tensor, wherever it stands.
TEST(EngineTest, RefusesNonFiniteWeights) {
  test::TinyModelSpec spec = test::small_tiny_model();
  spec.architecture = "Qwen3ForCausalLM";
  spec.attention_bias = true;
  const auto entries = test::tiny_safetensors(spec);
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.bias",
        "model.layers.0.self_attn.q_norm.weight", "model.layers.1.mlp.down_proj.weight"}) {
    for (const float value : {HUGE_VALF, std::nanf("")}) {
      auto spoilt = entries;
      const auto entry = std::ranges::find(spoilt, name, &test::SafetensorsEntry::name);
      entry->bytes.replace(4 * 5, 4, test::le_bytes(value));
      const test::TempDir folder;
      test::write_tiny_model(folder.path(), spec);
      test::write_file(folder / "model.safetensors", test::safetensors_file(spoilt));
      const auto checkpoint = Checkpoint::open(folder.path().string());
      test::expect_refused([&] { const Model model(*checkpoint); },
                           {name, value > 0 ? "+inf" : "NaN"});
    }
  }
}

}  // namespace
}  // namespace kvx::model
