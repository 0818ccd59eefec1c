#include "eval/bench/random_model.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "eval/options.h"

namespace kvx::bench {
namespace {

constexpr size_t kBlock = size_t{1} << 22;  // weights that are repeated

struct Shape {
  std::string_view name;
  const char* architecture;
  int64_t hidden, layers, heads, kv_heads, ffn, vocab;
  double rope_theta;
  bool tied, qkv_bias;
};
constexpr std::array<Shape, 2> kShapes{
    {{"random:llama-8b", "LlamaForCausalLM", 4096, 32, 32, 8, 14336, 128256, 500000, false, false},
     {"random:qwen-1.5b", "Qwen2ForCausalLM", 1536, 28, 12, 2, 8960, 151936, 1000000, true, true}}};

class RandomCheckpoint final : public model::Checkpoint {
 public:
  explicit RandomCheckpoint(const Shape& shape) : name_(shape.name) {
    config_.architecture = shape.architecture;
    config_.hidden = shape.hidden;
    config_.layers = shape.layers;
    config_.heads = shape.heads;
    config_.kv_heads = shape.kv_heads;
    config_.head_dim = 128;
    config_.ffn = shape.ffn;
    config_.vocab = shape.vocab;
    config_.max_positions = 1 << 20;
    config_.rms_eps = 1e-5f;
    config_.rope_theta = shape.rope_theta;
    config_.tied = shape.tied;
    config_.qkv_bias = shape.qkv_bias;
    std::mt19937 random(1);
    std::vector<uint16_t> block(kBlock);
    for (uint16_t& x : block) {
      const uint32_t r = random();
      const uint32_t exponent = 127 - 6 - (r >> 16 & 7u);
      x = static_cast<uint16_t>((r & 0x8000u) | exponent << 7 | (r & 0x7Fu));
    }
    const size_t longest = static_cast<size_t>(std::max(shape.vocab, shape.ffn) * shape.hidden);
    weights_.reserve(longest);
    while (weights_.size() < longest) {
      const size_t some = std::min(kBlock, longest - weights_.size());
      weights_.insert(weights_.end(), block.begin(), block.begin() + static_cast<int64_t>(some));
    }
  }

  const model::ModelConfig& config() const override { return config_; }
  model::TensorRef tensor(const std::string& name, int64_t rows, int64_t cols) const override {
    return {.name = name,
            .dtype = model::DType::kBf16,
            .rows = rows,
            .cols = cols,
            .bytes = std::as_bytes(std::span(weights_).first(static_cast<size_t>(rows * cols)))};
  }
  std::string sha256() const override { return std::string(64, '0'); }
  std::string path() const override { return name_; }

 private:
  std::string name_;
  model::ModelConfig config_;
  std::vector<uint16_t> weights_;  // of the longest tensor; each takes its first ones
};

}  // namespace

std::unique_ptr<model::Checkpoint> random_checkpoint(const std::string& name) {
  std::array<std::string_view, kShapes.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kShapes[i].name;
  eval::check_choice("--model", name, names);
  for (const Shape& shape : kShapes)
    if (shape.name == name) return std::make_unique<RandomCheckpoint>(shape);
  return nullptr;
}

}  // namespace kvx::bench
