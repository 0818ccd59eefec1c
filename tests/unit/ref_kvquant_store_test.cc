// What kvquant stores and refuses: counted bytes, the sink, artifacts of other shapes and values,
// images and canonical tensors that are not its own.
#include <gtest/gtest.h>

#include <limits>

#include "sim/api/error.h"
#include "tests/support/caches.h"
#include "tests/support/expect_refused.h"

namespace kvx {
namespace {

using test::Tensor;

std::unique_ptr<StoredCache> cache_of(const std::string& descriptor,
                                      std::shared_ptr<const Artifact> artifact, int heads,
                                      int dim) {
  CacheConfig config;
  config.shape = {.layer = 0, .kv_heads = heads, .head_dim = dim};
  config.artifacts = [artifact](std::string_view) { return artifact; };
  return ref::make_cache(Descriptor::parse(descriptor), config);
}

SeqId fill(StoredCache& cache, int64_t tokens, gen::Fill what = gen::Fill::kNormal) {
  const LayerShape& shape = cache.config().shape;
  const SeqId seq = cache.open();
  test::append(cache, seq, test::filled(what, 1, 0, tokens, shape.kv_heads, shape.head_dim),
               test::filled(what, 1, 1, tokens, shape.kv_heads, shape.head_dim), 0, tokens);
  return seq;
}

// Section 9.3 of the specification: d = 4096 has 21 + 21 outliers of a value token at 1 %.
TEST(KvquantStore, BytesOfProfilePaperByHand) {
  constexpr int64_t kTokens = 40, kD = 4096, kCoded = kTokens - 1;
  const auto cache = cache_of("kvquant:nuq4,o0.01,profile=paper,cb=#00000000",
                              test::kvquant_tables(1, kD, 4), 32, 128);
  const SeqId seq = fill(*cache, kTokens);
  const ByteCount v = cache->used(seq, Side::kV), k = cache->used(seq, Side::kK);
  EXPECT_EQ(v[Item::kTables], 16 * 4);
  EXPECT_EQ(v[Item::kCodes], kCoded * kD / 2);
  EXPECT_EQ(v[Item::kScale] + v[Item::kZero], kCoded * 4);
  EXPECT_EQ(v[Item::kOutliers], kCoded * 42 * 4);
  EXPECT_EQ(v[Item::kExact], kD * 2);
  EXPECT_EQ(v[Item::kPadding], 0);
  const auto outliers =
      static_cast<int64_t>(test::exported(*cache, seq).at("k.outlier.index").bytes.size() / 4);
  EXPECT_GT(outliers, 0);
  EXPECT_EQ(k[Item::kTables], 16 * 4 + 2 * kD * 2);
  EXPECT_EQ(k[Item::kOutliers], 4 * (kCoded + 1) + 4 * outliers);
  EXPECT_EQ(k[Item::kScale] + k[Item::kZero], 0);
  EXPECT_NEAR(cache->nominal_bits(Side::kK), 4.32, 1e-12);
  EXPECT_FALSE(cache->traits().fixed_size);
}

// Rows of 80 codes of 3 bits: 30 bytes in 8 words.
TEST(KvquantStore, BytesOfProfileRepoByHand) {
  const auto cache =
      cache_of("kvquant:nuq3,o0.02,qnorm,s2,cb=#00000000", test::kvquant_tables(1, 160, 3), 2, 80);
  const SeqId seq = fill(*cache, 9);
  const ByteCount v = cache->used(seq, Side::kV);
  EXPECT_EQ(v[Item::kTables], 8 * 4 + 8);
  EXPECT_EQ(v[Item::kCodes], 7 * 2 * 30);
  EXPECT_EQ(v[Item::kPadding], 7 * 2 * 2);
  EXPECT_EQ(v[Item::kOutliers], 4 * 8 + 8 * 7 * 4);  // m = 159 / 100 + 1 = 2 a side, no ties
  EXPECT_EQ(v[Item::kExact], 2 * 160 * 2);
}

TEST(KvquantStore, WithoutOutliersTheSizeIsFixed) {
  const auto tables = test::kvquant_tables(1, 128, 2);
  EXPECT_TRUE(cache_of("kvquant:nuq2,cb=#00000000", tables, 2, 64)->traits().fixed_size);
  EXPECT_TRUE(
      cache_of("kvquant:int2,o0.1,kaxis=token,profile=paper", nullptr, 2, 64)->traits().fixed_size);
  EXPECT_FALSE(cache_of("kvquant:int2,o0.1,kaxis=token", nullptr, 2, 64)->traits().fixed_size);
}

TEST(KvquantStore, TheSinkIsReadAsGiven) {
  const auto cache = test::make("kvquant:int2,s3,kaxis=token", 2, 64);
  const Tensor k = test::filled(gen::Fill::kF16Ties, 5, 0, 6, 2, 64);
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, k, 0, 2);
  EXPECT_EQ(cache->held(seq, Side::kK), (ReadMap{{0, 2, Held::kExact}}));
  test::append(*cache, seq, k, k, 2, 4);
  EXPECT_EQ(cache->held(seq, Side::kV), (ReadMap{{0, 3, Held::kExact}, {3, 3, Held::kSealed}}));
  EXPECT_EQ(cache->reads(seq, Side::kK, 4), (ReadMap{{0, 3, Held::kExact}, {3, 2, Held::kSealed}}));
  const Tensor sink = test::read(*cache, seq, Side::kK, {0, 3, Held::kExact});
  for (size_t i = 0; i < sink.values.size(); ++i) {
    EXPECT_EQ(sink.values[i], num::f16_round(k.values[i]));
  }
  EXPECT_THROW(test::read(*cache, seq, Side::kK, {2, 2, Held::kSealed}), std::logic_error);
  EXPECT_THROW(test::read(*cache, seq, Side::kK, {2, 2, Held::kExact}), std::logic_error);
}

TEST(KvquantStore, KeysThatDoNotGoTogether) {
  const auto refused = [](const std::string& descriptor, const std::string& what) {
    test::expect_refused([&] { test::make(descriptor, 2, 64); }, {"kvquant", what}, Exit::kUsage);
  };
  refused("kvquant:nuq3", "nuq3 needs cb=");
  refused("kvquant:int3", "kaxis=channel");
  refused("kvquant:nuq3,kaxis=token", "codebooks");
  refused("kvquant:int3,kaxis=token,cb=#00000003", "has no use");
  refused("kvquant:int3,qnorm,cb=#00000003", "qnorm");
  refused("kvquant:nuq3,zr=fp16,profile=paper,cb=#00000003", "zr=fp16");
  refused("kvquant:int3,zr=fp16,kaxis=token", "zr=fp16");
  refused("kvquant:int3,o0.03,kaxis=token", "o=0.03");
  refused("kvquant:int3,o1,kaxis=token", "outliers of the 128");
  test::expect_refused([] { test::make("kvquant:int3,kaxis=token", 1, 7); }, {"rope=pre", "7"},
                       Exit::kUsage);
  test::expect_refused([] { test::make("kvquant:int3,kaxis=token", 1025, 64); }, {"65600"},
                       Exit::kUsage);
}

class Said final : public Artifact {
 public:
  Said(std::shared_ptr<const Artifact> tensors, std::string scheme)
      : tensors_(std::move(tensors)), scheme_(std::move(scheme)) {}
  std::string source() const override { return "said.safetensors"; }
  std::string sha256() const override { return tensors_->sha256(); }
  std::string metadata(std::string_view key) const override {
    return key == "scheme" ? scheme_ : "";
  }
  const ArtifactTensor* find(std::string_view name) const override { return tensors_->find(name); }

 private:
  std::shared_ptr<const Artifact> tensors_;
  std::string scheme_;
};

TEST(KvquantArtifact, MustBeCalibratedForTheSame) {
  const auto make = [](const std::string& said, const std::string& descriptor) {
    cache_of(descriptor, std::make_shared<Said>(test::kvquant_tables(1, 128, 3), said), 2, 64);
  };
  const std::string wanted = "kvquant:nuq3,o0.01,s1,cb=#00000003";
  make("", wanted);
  make("kvquant@1:nuq3,o0.01,s1", wanted);
  make("kvquant@1:nuq3,o0.01,profile=paper", wanted);
  make("kvquant@1:nuq2,o0.01,s1", "kvquant:int3,o0.01,s1,cb=#00000003");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"kvquant@1:nuq3,s1", "outliers"},
      {"kvquant@1:nuq3,o0.01", "sink"},
      {"kvquant@1:nuq3,o0.01,s1,rope=post", "rope"},
      {"kvquant:nuq3,o0.01,s1,kaxis=token", "kaxis"},
      {"fp8:e4m3", "another scheme"},
      {"nonsense\n", "does not know"}};
  for (const auto& one : bad) {
    test::expect_refused([&] { make(one.first, wanted); }, {"said.safetensors", one.second},
                         Exit::kUsage);
  }
}

TEST(KvquantArtifact, HostileTensorsAreRefusedByName) {
  const std::string descriptor = "kvquant:nuq2,qnorm,profile=paper,cb=#00000002";
  const auto refused = [&](const std::vector<std::string>& words, const auto& spoil) {
    const auto tables = test::kvquant_tables(1, 128, 2);
    spoil(*tables);
    test::expect_refused([&] { cache_of(descriptor, tables, 2, 64); }, words);
  };
  using Halves = std::vector<uint16_t>;
  using Floats = std::vector<float>;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  using Tables = test::MemoryArtifact;
  refused({"'layers.0.k.lo'", "F16 [127]", "F16 [128]"},
          [](Tables& t) { t.set("layers.0.k.lo", "F16", {127}, Halves(127)); });
  refused({"'layers.0.k.hi'", "F32 [128]"},
          [](Tables& t) { t.set("layers.0.k.hi", "F32", {128}, Floats(128)); });
  refused({"'layers.0.k.hi'", "value 3", "not finite"}, [](Tables& t) {
    Halves hi(128, 0x7800);
    hi[3] = 0x7C00;
    t.set("layers.0.k.hi", "F16", {128}, hi);
  });
  refused({"'layers.0.k.lo'", "value 0", "above hi"},
          [](Tables& t) { t.set("layers.0.k.lo", "F16", {128}, Halves(128, 0x7800)); });
  refused({"'layers.0.v.codebook'", "F32 [8]", "F32 [4]"},
          [](Tables& t) { t.set("layers.0.v.codebook", "F32", {8}, Floats(8)); });
  refused({"'layers.0.v.codebook'", "value 1"}, [&](Tables& t) {
    t.set("layers.0.v.codebook", "F32", {4}, Floats{0, nan, 1, 2});
  });
  refused({"'layers.0.k.codebook'", "value 2", "ascending"}, [](Tables& t) {
    t.set("layers.0.k.codebook", "F32", {4}, Floats{0, 1, .5f, 2});
  });
  refused({"'layers.0.k.qnorm'", "F32 [3]"},
          [](Tables& t) { t.set("layers.0.k.qnorm", "F32", {3}, Floats(3)); });
  test::expect_refused([&] { cache_of(descriptor, std::make_shared<Tables>(), 2, 64); },
                       {"is missing"});
}

// One tensor of a good set replaced.
void expect_import_refused(const std::string& name, const std::vector<std::string>& words,
                           const std::function<void(test::Exported&)>& spoil) {
  const std::string descriptor = "kvquant:nf3,o0.1,s1,kaxis=token";
  const auto cache = test::make(descriptor, 1, 64);
  auto all = test::exported(*cache, fill(*cache, 5));
  spoil(all.at(name));
  std::map<std::string, ArtifactTensor> views;
  for (const auto& [key, tensor] : all) views[key] = {tensor.dtype, tensor.shape, tensor.bytes};
  test::expect_refused(
      [&] {
        cache->import_from(5, [&](const std::string& key) {
          const auto found = views.find(key);
          return found == views.end() ? nullptr : &found->second;
        });
      },
      words);
}

TEST(KvquantStore, TensorsThatItCannotHoldAreRefused) {
  const auto byte = [](size_t at, int value) {
    return [=](test::Exported& t) { t.bytes[at] = static_cast<std::byte>(value); };
  };
  expect_import_refused("k.codes", {"'k.codes'", "token 2", "channel 1", "code 8"},
                        byte(2 * 64 + 1, 8));
  expect_import_refused("v.sealed", {"'v.sealed'", "token 0"}, byte(0, 1));
  expect_import_refused("v.outlier.start", {"v.outlier.start", "value 3"}, byte(3 * 4, 0));
  expect_import_refused("v.outlier.start", {"v.outlier.start"}, byte(4, 1));  // in the sink
  expect_import_refused("k.outlier.index", {"k.outlier.index", "channel 64"}, byte(0, 64));
  expect_import_refused("k.outlier.value", {"'k.outlier.value'", "F16"},
                        [](test::Exported& t) { t.dtype = "F16"; });
  expect_import_refused("k.outlier.index", {"'k.outlier.index'", "outliers"},
                        [](test::Exported& t) { t.shape = {1}, t.bytes.resize(4); });
  expect_import_refused("k.decoded", {"'k.decoded'", "token 0", "channel 3"}, byte(3 * 4, 1));
}

TEST(KvquantStore, ImagesThatAreNotItsOwnAreRefused) {
  const auto tables = test::kvquant_tables(1, 64, 2);
  const auto cache = cache_of("kvquant:nuq2,o0.1,cb=#00000000", tables, 1, 64);
  const SeqId seq = fill(*cache, 5);
  const auto image = cache->image(seq);
  const auto refused = [&](const std::string& entry, size_t at, uint32_t value,
                           const std::vector<std::string>& words) {
    auto bytes = image;
    for (const LayoutEntry& run : cache->layout_of(seq)) {
      if (run.name == entry) {
        std::memcpy(&bytes[static_cast<size_t>(run.offset) + at], &value, 4);
      }
    }
    ASSERT_NE(bytes, image);
    test::expect_refused([&] { cache->restore(5, bytes); }, words);
  };
  refused("k.codebook", 0, 1, {"k.codebook"});
  refused("k.hi", 4, 1, {"k.hi"});
  refused("v.outlier.start", 0, 1, {"v.outlier.start, value 0"});
  refused("v.outlier.start", 8, 0xFFFFFFFF, {"v.outlier.start, value 2"});
  refused("v.outlier", 0, 64, {"v.outlier.index, value 0: channel 64"});
  EXPECT_EQ(cache->image(cache->restore(5, image)), image);
}

}  // namespace
}  // namespace kvx
