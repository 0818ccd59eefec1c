// The worked examples of ref/fp8.md, and what fp8 refuses.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/api/error.h"
#include "sim/num/minifloat.h"
#include "tests/support/caches.h"

namespace kvx {
namespace {

using test::Tensor;
using Codes = std::vector<uint8_t>;

const std::vector<float> kRow = {.7001953125f,   -1.2998046875f, 2.099609375f, .04998779296875f,
                                 -.39990234375f, 1.900390625f,   -2.19921875f, .330078125f};

CacheConfig config_with(std::shared_ptr<const Artifact> artifact, int heads, int dim,
                        NonFinite nonfinite = NonFinite::kRefuse) {
  CacheConfig config;
  config.shape = {.layer = 0, .kv_heads = heads, .head_dim = dim};
  config.nonfinite = nonfinite;
  config.artifacts = [artifact](std::string_view) { return artifact; };
  return config;
}

// One token of equal rows in every head.
struct Coded {
  std::map<std::string, test::Exported> tensors;
  std::vector<std::byte> image;
  Codes codes(const char* name = "k.codes") const { return tensors.at(name).as<uint8_t>(); }
  std::vector<float> decoded() const { return tensors.at("k.decoded").as<float>(); }
};

Coded coded(const std::string& descriptor, const CacheConfig& config, const std::vector<float>& x) {
  const auto cache = ref::make_cache(Descriptor::parse(descriptor), config);
  Tensor rows(1, config.shape.kv_heads, config.shape.head_dim);
  rows.values = test::repeated(x, config.shape.kv_heads);
  const SeqId seq = cache->open();
  test::append(*cache, seq, rows, rows, 0, 1);
  return {test::exported(*cache, seq), cache->image(seq)};
}

Coded coded(const std::string& descriptor, const std::vector<float>& x,
            NonFinite nonfinite = NonFinite::kRefuse) {
  return coded(descriptor, config_with(nullptr, 1, static_cast<int>(x.size()), nonfinite), x);
}

std::shared_ptr<test::MemoryArtifact> scales(const std::vector<float>& k,
                                             const std::vector<float>& v) {
  auto artifact = std::make_shared<test::MemoryArtifact>();
  artifact->set("layers.0.k.scale", "F32", {static_cast<int64_t>(k.size())}, k);
  artifact->set("layers.0.v.scale", "F32", {static_cast<int64_t>(v.size())}, v);
  return artifact;
}

TEST(Fp8, ScaleOne) {
  const Coded row = coded("fp8:e4m3", kRow);
  EXPECT_EQ(row.codes(), (Codes{0x33, 0xBA, 0x40, 0x15, 0xAD, 0x3F, 0xC1, 0x2B}));
  EXPECT_EQ(row.image.size(), 16u);
  EXPECT_EQ(row.tensors.count("k.scale"), 0u);
  // Saturation, signed zeros, and what is too small for a code.
  EXPECT_EQ(coded("fp8:e4m3", {1000.f, -65504.f, -0.f, -0x1p-11f}).codes(),
            (Codes{0x7E, 0xFE, 0x80, 0x80}));
  EXPECT_EQ(coded("fp8:e5m2", {65504.f, -61440.f, 1.125f, -0x1p-24f}).codes(),
            (Codes{0x7B, 0xFB, 0x3C, 0x80}));
}

TEST(Fp8, CalibratedScaleDivides) {
  const CacheConfig config = config_with(scales({.02f}, {1.0f}), 1, 8);
  const Coded row = coded("fp8:e4m3,scale=tensor,cal=#00000000", config, kRow);
  EXPECT_EQ(row.codes(), (Codes{0x61, 0xE8, 0x6D, 0x42, 0xDA, 0x6C, 0xEE, 0x58}));
  EXPECT_EQ(row.codes("v.codes"), (Codes{0x33, 0xBA, 0x40, 0x15, 0xAD, 0x3F, 0xC1, 0x2B}));
  EXPECT_EQ(row.tensors.at("k.scale").dtype, "F32");
  EXPECT_EQ(row.tensors.at("k.scale").shape, (std::vector<int64_t>{1}));
  EXPECT_EQ(row.tensors.at("k.scale").as<float>(), std::vector<float>{.02f});
  // 0x61 is 36: fl16(fl32(36 * fl32(.02))), fl32(.02) = 0x3CA3D70A, product 0.7199999690.
  EXPECT_EQ(row.decoded()[0], num::f16_round(36.0f * .02f));
  EXPECT_EQ(num::f16_encode(row.decoded()[0]), 0x39C3);
}

TEST(Fp8, EveryHeadHasItsScale) {
  const std::vector<float> k = {.02f, 1.0f, .5f};
  const CacheConfig config = config_with(scales(k, {1.0f, .02f, 2.0f}), 3, 8);
  const Coded row = coded("fp8:e4m3,scale=head,cal=#00000000", config, kRow);
  const Codes codes = row.codes();
  EXPECT_EQ(Codes(codes.begin(), codes.begin() + 8),
            (Codes{0x61, 0xE8, 0x6D, 0x42, 0xDA, 0x6C, 0xEE, 0x58}));
  EXPECT_EQ(Codes(codes.begin() + 8, codes.begin() + 16),
            (Codes{0x33, 0xBA, 0x40, 0x15, 0xAD, 0x3F, 0xC1, 0x2B}));
  for (size_t i = 0; i < 24; ++i) {
    const float s = k[i / 8];
    EXPECT_EQ(codes[i], num::e4m3_encode(kRow[i % 8] / s));
    EXPECT_EQ(row.decoded()[i], num::f16_round(num::e4m3_decode(codes[i]) * s));
  }
  EXPECT_EQ(row.tensors.at("k.scale").as<float>(), k);

  // The table stands at the head of each side and is counted.
  const auto cache =
      ref::make_cache(Descriptor::parse("fp8:e4m3,scale=head,cal=#00000000"), config);
  const auto entries = cache->layout(1);
  EXPECT_EQ(entries[0].name, "k.scale");
  EXPECT_EQ(entries[0].dtype, "f32");
  EXPECT_EQ(entries[0].shape, "[3]");
  EXPECT_EQ(entries[0].bytes, 12);
  EXPECT_EQ(entries[0].item, Item::kTables);
  EXPECT_EQ(std::memcmp(row.image.data(), k.data(), 12), 0);
  const SeqId seq = cache->open();
  EXPECT_EQ(cache->used(seq, Side::kK)[Item::kTables], 12);
  auto image = row.image;
  EXPECT_EQ(cache->image(cache->restore(1, image)), image);
  image[3] = std::byte{0x3F};
  try {
    cache->restore(1, image);
    ADD_FAILURE() << "an image with other scales was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kEnvironment);
    EXPECT_STREQ(error.what(), "image with another table k.scale than this cache's");
  }
}

TEST(Fp8, ScaleOfEachRow) {
  const Coded row = coded("fp8:e4m3,scale=token", kRow);
  EXPECT_EQ(row.codes(), (Codes{0x71, 0xF8, 0x7D, 0x52, 0xEA, 0x7C, 0xFE, 0x68}));
  EXPECT_EQ(row.tensors.at("k.scale").dtype, "F32");
  EXPECT_EQ(row.tensors.at("k.scale").shape, (std::vector<int64_t>{1, 1, 1}));
  EXPECT_EQ(row.tensors.at("k.scale").as<uint32_t>(), std::vector<uint32_t>{0x3BA0DB6E});
  EXPECT_EQ(row.image.size(), 2u * 12);
  // e5m2: 57344 in place of 448.
  const Coded wide =
      coded("fp8:e5m2,scale=token", {57344.f * 2, 1.f, -57344.f, 0.f}, NonFinite::kPropagate);
  EXPECT_EQ(wide.tensors.at("k.scale").as<uint32_t>(), std::vector<uint32_t>{0x7FC00000});
  const Coded two = coded("fp8:e5m2,scale=token", {2.f, 1.f, -.5f, 0.f});
  EXPECT_EQ(two.tensors.at("k.scale").as<float>(), std::vector<float>{2.f / 57344.f});
  // Zeros: the least scale, and the sign of each zero.
  const Coded zeros = coded("fp8:e4m3,scale=token", {0.f, -0.f});
  EXPECT_EQ(zeros.tensors.at("k.scale").as<float>(), std::vector<float>{1e-6f});
  EXPECT_EQ(zeros.codes(), (Codes{0x00, 0x80}));
  EXPECT_EQ(test::patterns(zeros.decoded()), (std::vector<uint32_t>{0, 0x80000000u}));
}

TEST(Fp8, NonFiniteInputWhereLetThrough) {
  const std::vector<float> x = {1.f, INFINITY, -INFINITY, NAN};
  const Coded fixed = coded("fp8:e4m3", x, NonFinite::kPropagate);
  EXPECT_EQ(fixed.codes(), (Codes{0x38, 0x7E, 0xFE, 0x7F}));
  EXPECT_TRUE(std::isnan(fixed.decoded()[3]));
  const Coded row = coded("fp8:e4m3,scale=token", x, NonFinite::kPropagate);
  EXPECT_EQ(row.codes(), Codes(4, 0));
  EXPECT_EQ(row.tensors.at("k.scale").as<uint32_t>(), std::vector<uint32_t>{0x7FC00000});
  for (const float value : row.decoded()) EXPECT_TRUE(std::isnan(value));
}

void expect_error(const std::string& descriptor, const CacheConfig& config, Exit exit,
                  const std::string& message) {
  try {
    ref::make_cache(Descriptor::parse(descriptor), config);
    ADD_FAILURE() << descriptor << " was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), exit) << error.what();
    EXPECT_EQ(error.what(), message);
  }
}

TEST(Fp8, RefusesScalesThatAreNotWhatItNeeds) {
  const CacheConfig two = config_with(scales({.02f, .03f}, {.02f, 0.f}), 2, 8);
  expect_error("fp8:e4m3,scale=head", two, Exit::kUsage,
               "fp8: scale=head needs cal=#hash or cal=path, the calibrated scales");
  expect_error("fp8:e4m3,scale=token,cal=#00000000", two, Exit::kUsage,
               "fp8: cal=#00000000 has no use with scale=token");
  expect_error("fp8:e4m3,cal=#00000000", two, Exit::kUsage,
               "fp8: cal=#00000000 has no use with scale=1");
  expect_error("fp8:e4m3,scale=tensor,cal=#00000000", two, Exit::kEnvironment,
               "memory.safetensors: tensor 'layers.0.k.scale' is F32 [2], not F32 [1]");
  expect_error("fp8:e4m3,scale=head,cal=#00000000", two, Exit::kEnvironment,
               "memory.safetensors: tensor 'layers.0.v.scale', value 1: 0.000000 is not a finite "
               "positive scale");
  const auto halves = std::make_shared<test::MemoryArtifact>();
  halves->set("layers.0.k.scale", "F16", {1}, std::vector<uint16_t>{0x3C00});
  expect_error("fp8:e5m2,scale=tensor,cal=#00000000", config_with(halves, 2, 8), Exit::kEnvironment,
               "memory.safetensors: tensor 'layers.0.k.scale' is F16 [1], not F32 [1]");
  CacheConfig other = two;
  other.shape.layer = 7;
  expect_error("fp8:e4m3,scale=head,cal=#00000000", other, Exit::kEnvironment,
               "memory.safetensors: tensor 'layers.7.k.scale' is missing");
  for (const float bad : {-1.0f, INFINITY, NAN}) {
    const CacheConfig config = config_with(scales({bad}, {1.0f}), 2, 8);
    EXPECT_THROW(ref::make_cache(Descriptor::parse("fp8:e4m3,scale=tensor,cal=#00000000"), config),
                 Error);
  }
}

}  // namespace
}  // namespace kvx
