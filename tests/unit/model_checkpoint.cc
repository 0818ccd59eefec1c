// Checkpoints round trip: what the writers of tests/support wrote is what the readers give, from
// either container.
#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
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
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
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

}  // namespace
}  // namespace kvx
