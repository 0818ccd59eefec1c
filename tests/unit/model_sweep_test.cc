// Every truncation of small model files, and many single-byte changes: opening and reading either
// work or throw kvx::Error. Meant to run under the sanitizers too.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/model/checkpoint.h"
#include "sim/model/tokenizer.h"
#include "tests/data.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::Checkpoint;
using model::DType;
using model::Tokenizer;
using test::TempDir;
using test::TinyModelSpec;

// With everything that a Llama does not have.
TinyModelSpec smallest_qwen3() {
  TinyModelSpec spec = test::smallest_tiny_model();
  spec.architecture = "Qwen3ForCausalLM";
  spec.attention_bias = true;
  spec.rope_scaling = {.rule = num::RopeScaling::Rule::kLinear, .factor = 2};
  return spec;
}

void use_checkpoint(const std::string& path) {
  const auto checkpoint = Checkpoint::open(path);
  const model::ModelConfig& config = checkpoint->config();
  std::vector<float> row(static_cast<size_t>(config.hidden));
  const int64_t q_rows = config.heads * config.head_dim;
  const auto embed = checkpoint->tensor("model.embed_tokens.weight", config.vocab, config.hidden);
  const auto q =
      checkpoint->tensor("model.layers.0.self_attn.q_proj.weight", q_rows, config.hidden);
  model::read_row(embed, config.vocab - 1, row);
  model::read_row(q, 0, row);
  model::read_row(q, q_rows - 1, row);
  if (config.qkv_bias) {
    const auto bias = checkpoint->tensor("model.layers.0.self_attn.q_proj.bias", q_rows, 1);
    model::read_row(bias, q_rows - 1, std::span(row).first(1));
  }
  EXPECT_EQ(model::rope_steps(*checkpoint).size(), static_cast<size_t>(config.head_dim / 2));
}

void use_tokenizer(const std::string& path) {
  const auto tokenizer = Tokenizer::open(path);
  tokenizer->decode(tokenizer->encode("the 12 rains <|im_start|>", true, true));
}

// Counts what `use` accepts and refuses; anything but kvx::Error, and any crash, fails the test.
struct Outcome {
  int accepted = 0;
  int refused = 0;
  void of(const std::function<void(const std::string&)>& use, const std::string& path) {
    try {
      use(path);
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kEnvironment);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      ++refused;
    }
  }
};

// Cuts `file` shorter and shorter and opens `model`: every length up to `dense`, fewer beyond.
Outcome truncations(const std::string& model, const std::string& file, size_t dense,
                    const std::function<void(const std::string&)>& use) {
  use(model);
  const std::string good = test::read_file(file);
  Outcome outcome;
  for (size_t length = std::filesystem::file_size(file); length-- > 0;) {
    if (length > dense && length % 97 != 0) continue;
    std::filesystem::resize_file(file, length);
    outcome.of(use, model);
  }
  test::write_file(file, good);
  return outcome;
}

void put_byte(const std::string& file, size_t at, char byte) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(static_cast<std::streamoff>(at)).put(byte);
  ASSERT_TRUE(stream.flush());
}

// One byte changed at a time, in the first `reach` bytes, `step` apart.
Outcome flips(const std::string& model, const std::string& file, size_t reach, size_t step,
              const std::function<void(const std::string&)>& use) {
  const std::string good = test::read_file(file);
  Outcome outcome;
  for (size_t at = 0; at < std::min(reach, good.size()); at += step) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      put_byte(file, at, static_cast<char>(good[at] ^ flip));
      outcome.of(use, model);
    }
    put_byte(file, at, good[at]);
  }
  use(model);
  return outcome;
}

size_t header_size(const TinyModelSpec& spec) {
  return test::tiny_gguf_metadata(spec).file().size();
}

class GgufSweep : public testing::TestWithParam<DType> {};

TEST_P(GgufSweep, Truncations) {
  const TempDir dir;
  const std::string path = dir / "tiny.gguf";
  test::write_tiny_gguf(path, test::smallest_tiny_model(), GetParam());
  // The last bytes may be padding.
  EXPECT_LE(truncations(path, path, header_size(test::smallest_tiny_model()) + 2000, use_checkpoint)
                .accepted,
            31);
}

TEST_P(GgufSweep, Flips) {
  const TempDir dir;
  const std::string path = dir / "tiny.gguf";
  test::write_tiny_gguf(path, test::smallest_tiny_model(), GetParam());
  const Outcome outcome =
      flips(path, path, header_size(test::smallest_tiny_model()) + 1500, 3, use_checkpoint);
  EXPECT_GT(outcome.refused, 100);
  EXPECT_GT(outcome.accepted, 100);  // token texts may be anything
}
INSTANTIATE_TEST_SUITE_P(All, GgufSweep, testing::Values(DType::kF16, DType::kQ4_1),
                         [](const auto& param) { return model::dtype_name(param.param); });

TEST(GgufSweepOfQwen3, TruncationsAndFlips) {
  const TempDir dir;
  const std::string path = dir / "tiny.gguf";
  test::write_tiny_gguf(path, smallest_qwen3(), DType::kQ5_1);
  const size_t header = header_size(smallest_qwen3());
  EXPECT_LE(truncations(path, path, header + 2000, use_checkpoint).accepted, 31);
  EXPECT_GT(flips(path, path, header + 1500, 3, use_checkpoint).refused, 100);
}

TEST(GgufTokenizerSweep, TruncationsAndFlips) {
  const TempDir dir;
  const std::string path = dir / "tiny.gguf";
  test::write_file(path, test::tiny_gguf_metadata(test::smallest_tiny_model()).file());
  EXPECT_LE(truncations(path, path, ~size_t{0}, use_tokenizer).accepted, 31);
  EXPECT_GT(flips(path, path, ~size_t{0}, 3, use_tokenizer).refused, 100);
}

TEST(SafetensorsSweep, TruncationsAndFlips) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), test::smallest_tiny_model());
  const std::string path = dir.path().string();
  EXPECT_EQ(truncations(path, dir / "model.safetensors", 2000, use_checkpoint).accepted, 0);
  EXPECT_GT(flips(path, dir / "model.safetensors", 2000, 1, use_checkpoint).refused, 1000);
}

TEST(ConfigSweep, TruncationsAndFlips) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), test::smallest_tiny_model());
  const std::string path = dir.path().string();
  // Only the final line end can be missed.
  EXPECT_LE(truncations(path, dir / "config.json", ~size_t{0}, use_checkpoint).accepted, 1);
  EXPECT_GT(flips(path, dir / "config.json", ~size_t{0}, 1, use_checkpoint).refused, 100);
}

TEST(ConfigSweepOfScaledQwen3, TruncationsAndFlips) {
  const TempDir dir;
  TinyModelSpec spec = smallest_qwen3();
  spec.rope_scaling = {
      .rule = num::RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 64};
  test::write_tiny_model(dir.path(), spec);
  const std::string path = dir.path().string();
  EXPECT_LE(truncations(path, dir / "config.json", ~size_t{0}, use_checkpoint).accepted, 1);
  EXPECT_GT(flips(path, dir / "config.json", ~size_t{0}, 1, use_checkpoint).refused, 100);
}

TEST(TokenizerJsonSweep, TruncationsAndFlips) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), test::smallest_tiny_model());
  const std::string path = dir.path().string();
  EXPECT_EQ(truncations(path, dir / "tokenizer.json", 1500, use_tokenizer).accepted, 0);
  EXPECT_GT(flips(path, dir / "tokenizer.json", ~size_t{0}, 7, use_tokenizer).refused, 100);
}

// The library reads the file here; what it accepts must still encode and decode.
TEST(SentencePieceSweep, TruncationsAndFlips) {
  KVX_NEED_DATA(model, "models/stories260K/hf/tokenizer.model");
  const TempDir dir;
  test::write_file(dir / "tokenizer.model", test::read_file(model));
  const std::string path = dir.path().string();
  EXPECT_GT(truncations(path, dir / "tokenizer.model", 100, use_tokenizer).refused, 50);
  EXPECT_GT(flips(path, dir / "tokenizer.model", ~size_t{0}, 7, use_tokenizer).refused, 50);
}

}  // namespace
}  // namespace kvx
