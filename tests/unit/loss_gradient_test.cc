// Gradients of the loss with respect to K and V against central differences of a transformer in
// binary64, written here as plain loops.
#include "sim/model/loss_gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "tests/support/noise.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::model {
namespace {

using Values = std::vector<double>;

constexpr int64_t kTokens = 40;

size_t index(int64_t i) { return static_cast<size_t>(i); }

// y [rows][out] = x [rows][in] w^T + b
Values linear(const Values& x, const Values& w, const Values& bias, int64_t in) {
  const int64_t rows = std::ssize(x) / in, out = std::ssize(w) / in;
  Values y(index(rows * out));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0.0 : bias[index(o)];
      for (int64_t i = 0; i < in; ++i) sum += x[index(r * in + i)] * w[index(o * in + i)];
      y[index(r * out + o)] = sum;
    }
  }
  return y;
}

Values rms_norm(Values x, const Values& weight, double eps) {
  const size_t n = weight.size();
  for (size_t row = 0; row < x.size(); row += n) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += x[row + i] * x[row + i];
    const double r = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
    for (size_t i = 0; i < n; ++i) x[row + i] *= r * weight[i];
  }
  return x;
}

// Adds `step` x direction to K before rotation, or to V, of one layer.
struct Nudge {
  int layer;
  Side side;
  const Values& direction;
  double step;
};

class Reference {
 public:
  Reference(const test::TinyModelSpec& spec, const ModelConfig& config,
            std::span<const uint64_t> rope_steps)
      : c_(config), rope_steps_(rope_steps.begin(), rope_steps.end()) {
    const auto tensors = test::tiny_tensors(spec);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::vector<float> w = test::tiny_weights(spec, i);
      weights_[tensors[i].name].assign(w.begin(), w.end());
    }
  }

  double loss(std::span<const int32_t> tokens, const std::optional<Nudge>& nudge) const {
    const Values& embedding = weight("model.embed_tokens.weight");
    Values x;
    for (const int32_t token : tokens)
      x.insert(x.end(), embedding.begin() + token * c_.hidden,
               embedding.begin() + (token + 1) * c_.hidden);
    for (int layer = 0; layer < c_.layers; ++layer) run_layer(layer, x, nudge);
    x = rms_norm(x, weight("model.norm.weight"), eps());
    const Values z = linear(x, c_.tied ? embedding : weight("lm_head.weight"), {}, c_.hidden);
    double total = 0;
    for (size_t t = 0; t + 1 < tokens.size(); ++t) {
      double sum = 0;
      const double* row = z.data() + t * index(c_.vocab);
      for (int64_t i = 0; i < c_.vocab; ++i) sum += std::exp(row[i]);
      total += std::log(sum) - row[tokens[t + 1]];
    }
    return total / static_cast<double>(tokens.size() - 1);
  }

 private:
  double eps() const { return static_cast<double>(c_.rms_eps); }

  const Values& weight(const std::string& name) const {
    static const Values kNone;
    const auto found = weights_.find(name);
    return found == weights_.end() ? kNone : found->second;
  }

  void rotate(Values& x, int64_t heads) const {
    const int64_t half = c_.head_dim / 2;
    for (int64_t row = 0; row < std::ssize(x) / c_.head_dim; ++row) {
      for (int64_t i = 0; i < half; ++i) {
        const auto position = static_cast<uint64_t>(row / heads);
        const double angle = static_cast<double>(position * rope_steps_[index(i)]) * 0x1p-64 * 2 *
                             3.14159265358979323846;
        double& a = x[index(row * c_.head_dim + i)];
        double& b = x[index(row * c_.head_dim + i + half)];
        const double was = a;
        a = was * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + was * std::sin(angle);
      }
    }
  }

  Values attention(const Values& q, const Values& k, const Values& v) const {
    const int64_t d = c_.head_dim, group = c_.heads / c_.kv_heads;
    const int64_t tokens = std::ssize(k) / (c_.kv_heads * d);
    const auto at = [d](const Values& x, int64_t heads, int64_t t, int64_t head) {
      return x.data() + (t * heads + head) * d;
    };
    Values out(q.size());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t head = 0; head < c_.heads; ++head) {
        Values p;
        double sum = 0;
        for (int64_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (int64_t i = 0; i < d; ++i)
            dot += at(q, c_.heads, t, head)[i] * at(k, c_.kv_heads, s, head / group)[i];
          p.push_back(std::exp(dot / std::sqrt(static_cast<double>(d))));
          sum += p.back();
        }
        for (int64_t s = 0; s <= t; ++s)
          for (int64_t i = 0; i < d; ++i)
            out[index((t * c_.heads + head) * d + i)] +=
                p[index(s)] / sum * at(v, c_.kv_heads, s, head / group)[i];
      }
    }
    return out;
  }

  void run_layer(int layer, Values& x, const std::optional<Nudge>& nudge) const {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    const auto of = [&](const std::string& name) -> const Values& { return weight(at + name); };
    const auto add = [](Values& to, const Values& from, double times) {
      for (size_t i = 0; i < to.size(); ++i) to[i] += times * from[i];
    };
    const auto heads = [&](const Values& h, const std::string& name) {
      Values y = linear(h, of("self_attn." + name + "_proj.weight"),
                        of("self_attn." + name + "_proj.bias"), c_.hidden);
      const Values& norm = of("self_attn." + name + "_norm.weight");
      return norm.empty() ? y : rms_norm(y, norm, eps());
    };
    const Values h = rms_norm(x, of("input_layernorm.weight"), eps());
    Values q = heads(h, "q"), k = heads(h, "k"), v = heads(h, "v");
    if (nudge && nudge->layer == layer)
      add(nudge->side == Side::kK ? k : v, nudge->direction, nudge->step);
    rotate(q, c_.heads);
    rotate(k, c_.kv_heads);
    add(x,
        linear(attention(q, k, v), of("self_attn.o_proj.weight"), of("self_attn.o_proj.bias"),
               c_.heads * c_.head_dim),
        1);
    const Values normed = rms_norm(x, of("post_attention_layernorm.weight"), eps());
    Values gate = linear(normed, of("mlp.gate_proj.weight"), {}, c_.hidden);
    const Values up = linear(normed, of("mlp.up_proj.weight"), {}, c_.hidden);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    add(x, linear(gate, of("mlp.down_proj.weight"), {}, c_.ffn), 1);
  }

  ModelConfig c_;
  std::vector<uint64_t> rope_steps_;
  std::map<std::string, Values> weights_;
};

// Gradients by layer: dK before rotation and dV; dK after rotation.
struct Gradients {
  double loss = 0;
  std::map<int, std::array<std::vector<float>, 3>> layers;
  bool operator==(const Gradients&) const = default;
};

Gradients run(const Model& model, std::span<const int32_t> tokens, int threads, int windows = 1) {
  CpuLossGradient gradient(model, ref::factory(Descriptor::parse("fp:f32")), threads);
  Gradients out;
  const auto copy = [](ConstRows x) {
    return std::vector<float>(x.data, x.data + x.tokens * x.heads * x.dim);
  };
  for (int window = 0; window < windows; ++window) {
    out.loss = gradient.run(tokens, [&](const KvGradient& of) {
      out.layers[of.layer] = {copy(of.dk_pre), copy(of.dv), copy(of.dk)};
    });
  }
  return out;
}

std::vector<int32_t> some_tokens(int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(i * i * 37 % 320));
  return tokens;
}

class OfModel : public testing::TestWithParam<test::TinyModelSpec> {};

// Along the gradient itself, where the derivative is the gradient's norm, and along noise. The
// gradient is binary32: each derivative within 2e-5 of the norm.
TEST_P(OfModel, AgreesWithCentralDifferences) {
  constexpr double kStep = 1e-4;
  const test::TempDir dir;
  test::write_tiny_model(dir.path(), GetParam());
  const auto checkpoint = Checkpoint::open(dir.path());
  const Model model(*checkpoint);
  const std::vector<int32_t> tokens = some_tokens(kTokens);
  const Gradients gradients = run(model, tokens, 0);
  const Reference reference(GetParam(), checkpoint->config(), model.rope_steps());
  EXPECT_NEAR(gradients.loss, reference.loss(tokens, {}), 1e-5);
  ASSERT_EQ(std::ssize(gradients.layers), GetParam().layers);
  for (const auto& entry : gradients.layers) {
    const int layer = entry.first;
    const auto& sides = entry.second;
    for (const Side side : {Side::kK, Side::kV}) {
      const std::vector<float>& found = sides[static_cast<size_t>(side)];
      double norm = 0;
      for (const float x : found) norm += static_cast<double>(x) * static_cast<double>(x);
      norm = std::sqrt(norm);
      ASSERT_GT(norm, 0) << layer << side_name(side);
      Values along;
      for (const float x : found) along.push_back(static_cast<double>(x) / norm);
      const std::vector<float> random = test::noise(std::ssize(found), 7u + 2u * index(layer));
      for (const Values& direction : {along, Values(random.begin(), random.end())}) {
        const auto loss = [&](double step) {
          return reference.loss(tokens, Nudge{layer, side, direction, step});
        };
        const double expected = (loss(kStep) - loss(-kStep)) / (2 * kStep);
        double derivative = 0;
        for (size_t i = 0; i < found.size(); ++i)
          derivative += static_cast<double>(found[i]) * direction[i];
        EXPECT_NEAR(derivative, expected, 2e-5 * norm) << layer << side_name(side);
      }
    }
  }
}

test::TinyModelSpec spec(const std::string& architecture, bool tied, bool bias, bool scaled) {
  test::TinyModelSpec out;
  out.architecture = architecture;
  out.tied = tied;
  out.attention_bias = bias;
  if (scaled)
    out.rope_scaling = {
        .rule = num::RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 64};
  return out;
}

INSTANTIATE_TEST_SUITE_P(Tiny, OfModel,
                         testing::Values(spec("LlamaForCausalLM", false, false, false),
                                         spec("LlamaForCausalLM", true, true, true),
                                         spec("Qwen2ForCausalLM", true, false, false),
                                         spec("Qwen3ForCausalLM", false, true, false)),
                         [](const auto& of) {
                           return of.param.architecture.substr(0, 5) +
                                  (of.param.tied ? "Tied" : "Untied");
                         });

class LossGradientTest : public testing::Test {
 protected:
  LossGradientTest() {
    test::write_tiny_model(dir_.path(), test::TinyModelSpec());
    checkpoint_ = Checkpoint::open(dir_.path());
    model_ = std::make_unique<Model>(*checkpoint_);
  }
  test::TempDir dir_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Model> model_;
};

// 300 tokens: three blocks of queries, the last one not full.
TEST_F(LossGradientTest, HasTheSameBitsAtAnyThreadCountAndInAnyWindow) {
  const std::vector<int32_t> tokens = some_tokens(300);
  const Gradients one = run(*model_, tokens, 1);
  for (const int threads : {2, 3, 7}) EXPECT_EQ(run(*model_, tokens, threads), one) << threads;
  EXPECT_EQ(run(*model_, tokens, 2, 2), one);
}

// Nothing is predicted from the last token; the first has a gradient.
TEST_F(LossGradientTest, LastTokenHasNone) {
  const std::vector<int32_t> tokens = some_tokens(kTokens);
  const Gradients gradients = run(*model_, tokens, 0);
  const size_t row = 2 * 16;
  for (const auto& [layer, sides] : gradients.layers) {
    for (const std::vector<float>& side : sides) {
      ASSERT_EQ(side.size(), index(kTokens) * row);
      const auto zero = [](float x) { return x == 0.0f; };
      EXPECT_TRUE(std::all_of(side.end() - row, side.end(), zero)) << layer;
      EXPECT_FALSE(std::all_of(side.begin(), side.begin() + row, zero)) << layer;
    }
  }
}

TEST_F(LossGradientTest, TwoTokensAreAWindowAndOneIsNot) {
  EXPECT_GT(run(*model_, some_tokens(2), 1).loss, 0);
  EXPECT_THROW(run(*model_, some_tokens(1), 1), std::logic_error);
}

}  // namespace
}  // namespace kvx::model
