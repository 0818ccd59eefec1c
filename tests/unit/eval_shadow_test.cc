// The shadow check: every mode and scheme passes on the CPU's own values, and one flipped bit is
// found at its level and place. The hash of logits beside it.
#include <gtest/gtest.h>

#include <limits>

#include "eval/logits_hash.h"
#include "eval/ppl.h"
#include "tests/support/artifacts.h"
#include "tests/support/disturbed_backend.h"
#include "tests/support/tiny_model.h"

namespace kvx::eval {
namespace {

using model::CacheMode;
using test::Flip;

constexpr CacheMode kModes[] = {CacheMode::kAll, CacheMode::kStreamed, CacheMode::kPrefillExact,
                                CacheMode::kContextExact};

class ShadowTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    test::TinyModelSpec spec;
    spec.head_dim = 32;
    spec.layers = 3;
    spec.max_positions = 4096;
    spec.seed = 9;
    test::write_tiny_model(*folder_ / "model", spec);
    checkpoint_ = model::Checkpoint::open(*folder_ / "model").release();
  }
  static void TearDownTestSuite() {
    delete checkpoint_;
    delete folder_;
  }

  // A scheme's pass with every layer in the shadow, on a backend with these flips.
  static PassResult shadowed(const char* scheme, CacheMode mode, const std::vector<Flip>& flips,
                             int64_t tokens = 100, int64_t layers = 3,
                             Arithmetic arithmetic = Arithmetic::kIeee,
                             int64_t kept_bytes = default_kept_bytes()) {
    test::DisturbedBackend backend(*checkpoint_, "", flips);
    const bool context = has_context(mode);
    Window window{{}, context ? 50 : 0, context ? 50 : 0};
    for (int64_t i = 0; i < tokens; ++i)
      window.tokens.push_back(static_cast<int32_t>((i * i + 3 * i) % 311));
    PassSettings settings;
    settings.mode = mode;
    settings.arithmetic = arithmetic;
    settings.kept_bytes = kept_bytes;
    settings.threads = 1;
    BaseWindow base;
    run_base(backend, window, settings, true, base);
    settings.shadow = {layers, 4};
    settings.rope_steps = model::rope_steps(*checkpoint_);
    return run_scheme(backend, Descriptor::parse(scheme), window, settings, base);
  }

  static test::TempDir* folder_;
  static const model::Checkpoint* checkpoint_;
};
test::TempDir* ShadowTest::folder_ = nullptr;
const model::Checkpoint* ShadowTest::checkpoint_ = nullptr;

TEST_F(ShadowTest, TheReferenceAgreesWithItself) {
  for (const CacheMode mode : kModes)
    for (const char* scheme :
         {"fp:f32", "fp:f16", "int:k3v3", "kivi:k2v2,r32", "ggml:q4_0", "fp8:e4m3,scale=token"}) {
      SCOPED_TRACE(std::string(model::cache_mode_name(mode)) + " " + scheme);
      const PassResult result = shadowed(scheme, mode, {});
      const auto& shadow = result.record.runs.front().shadow;
      ASSERT_TRUE(shadow.has_value());
      EXPECT_FALSE(result.mismatch.has_value());
      EXPECT_EQ(shadow->mismatches, 0);
      EXPECT_EQ(shadow->decoded, 3 * 2 * 100 * 2 * 32);
      // A context that the base computed is appended: its queries are the base's.
      EXPECT_EQ(shadow->attention, 3 * 8 * 4 * 32);
      EXPECT_GT(shadow->cache, 3 * 2 * 100 * 2);
    }
}

TEST_F(ShadowTest, TheReferenceAgreesWithItselfInFixed) {
  for (const CacheMode mode : kModes)
    for (const char* scheme : {"fp:f32", "int:k3v3", "kivi:k2v2,r32", "kivi:k4v4,profile=paper"}) {
      SCOPED_TRACE(std::string(model::cache_mode_name(mode)) + " " + scheme);
      const PassResult result = shadowed(scheme, mode, {}, 100, 3, Arithmetic::kFixed);
      EXPECT_FALSE(result.mismatch.has_value());
      EXPECT_EQ(result.record.runs.front().shadow->attention, 3 * 8 * 4 * 32);
      const bool same = shadowed(scheme, mode, {}).record.logits == result.record.logits;
      EXPECT_EQ(same, std::string(scheme) == "fp:f32");
    }
}

// A scheme's own exact chunk is the unquantised model's pass, in `ieee`, so that it makes no
// difference where the context came from.
TEST_F(ShadowTest, AContextIsTheUnquantisedModelsUnderEitherArithmetic) {
  for (const CacheMode mode : {CacheMode::kPrefillExact, CacheMode::kContextExact}) {
    const auto pass = [&](int64_t kept_bytes) {
      return shadowed("kivi:k4v4,r32", mode, {}, 100, 3, Arithmetic::kFixed, kept_bytes);
    };
    const PassResult own = pass(0);
    EXPECT_FALSE(own.mismatch.has_value());
    EXPECT_EQ(own.record.runs.front().shadow->attention, 2 * 3 * 8 * 4 * 32);
    EXPECT_EQ(own.rows, pass(default_kept_bytes()).rows);
  }
}

// A context is computed again under the scheme: its queries are looked at too.
TEST_F(ShadowTest, KeysBeforeRotation) {
  for (const CacheMode mode : kModes) {
    const PassResult result = shadowed("kvquant:int3,o0.05,s2,kaxis=token,profile=paper", mode, {});
    const auto& shadow = result.record.runs.front().shadow;
    ASSERT_TRUE(shadow.has_value());
    EXPECT_FALSE(result.mismatch.has_value());
    EXPECT_EQ(shadow->decoded, 3 * 2 * 100 * 2 * 32);
    EXPECT_EQ(shadow->attention, (has_context(mode) ? 2 : 1) * 3 * 8 * 4 * 32);
  }
}

TEST_F(ShadowTest, EveryPieceOfALongWindowIsSampled) {
  const PassResult result = shadowed("kivi:k2v2,r32", CacheMode::kStreamed, {}, 2300, 1);
  EXPECT_EQ(result.record.runs.front().shadow->attention, 2 * 8 * 4 * 32);
  EXPECT_FALSE(result.mismatch.has_value());
}

TEST_F(ShadowTest, FewerLayersAreDrawnFromTheSeed) {
  const PassResult result = shadowed("int:k3v3", CacheMode::kAll, {}, 100, 1);
  EXPECT_EQ(result.record.runs.front().shadow->decoded, 2 * 100 * 2 * 32);
  const auto& counts =
      *shadowed("int:k3v3", CacheMode::kAll, {}, 100, 1).record.runs.front().shadow;
  EXPECT_EQ(counts, *result.record.runs.front().shadow);
}

TEST_F(ShadowTest, AFlippedBitIsFoundAtItsLevel) {
  struct Case {
    Flip flip;
    const char* level;
    const char* tensor;
    std::vector<std::pair<std::string, int64_t>> index;
  };
  // The last position is always sampled.
  const int64_t last = 99;
  const Case cases[] = {{{.tensor = "out", .layer = 2, .head = 3, .token = last, .channel = 7},
                         "E2",
                         "out",
                         {{"head", 3}, {"token", last}, {"channel", 7}}},
                        {{.tensor = "q", .layer = 2, .head = 1, .token = last, .channel = 7},
                         "E2",
                         "out",
                         {{"head", 1}, {"token", last}, {"channel", 0}}},
                        {{.tensor = "k.decoded", .layer = 0, .channel = 4 * ((100 + 5) * 32 + 6)},
                         "E1",
                         "k.decoded",
                         {{"head", 1}, {"token", 5}, {"channel", 6}}},
                        {{.tensor = "v.codes", .layer = 1, .channel = (100 + 5) * 32 + 6},
                         "E0",
                         "v.codes",
                         {{"head", 1}, {"token", 5}, {"channel", 6}}},
                        {{.tensor = "k.scale", .layer = 1, .channel = 2},
                         "E0",
                         "k.scale",
                         {{"head", 0}, {"group", 1}, {"item", 0}}},
                        {{.tensor = "v.sealed", .layer = 1, .channel = 100 + 3},
                         "E0",
                         "v.sealed",
                         {{"head", 1}, {"token", 3}}}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.flip.tensor);
    for (const CacheMode mode : {CacheMode::kAll, CacheMode::kStreamed}) {
      const PassResult result = shadowed("int:k3v3", mode, {one.flip});
      ASSERT_TRUE(result.mismatch.has_value());
      EXPECT_EQ(result.mismatch->level, one.level);
      EXPECT_EQ(result.mismatch->place.layer, one.flip.layer);
      EXPECT_EQ(result.mismatch->place.tensor, one.tensor);
      if (one.flip.tensor == "q") {
        EXPECT_EQ(result.mismatch->place.index[0], one.index[0]);
        EXPECT_EQ(result.mismatch->place.index[1], one.index[1]);
      } else {
        EXPECT_EQ(result.mismatch->place.index, one.index);
        EXPECT_EQ(result.record.runs.front().shadow->mismatches, 1);
      }
    }
  }
}

// The keys that the pass attended to are not those that it stored.
TEST_F(ShadowTest, OtherStoredKeysAreFound) {
  const PassResult result =
      shadowed("fp:f32", CacheMode::kStreamed,
               {{.tensor = "k", .layer = 1, .head = 1, .token = 2, .channel = 3}});
  ASSERT_TRUE(result.mismatch.has_value());
  EXPECT_EQ(place_text(result.mismatch->place)
                .rfind("layer 1, k.decoded [head 1, token 2, channel 3]", 0),
            0u)
      << place_text(result.mismatch->place);
}

// The expected hash is from integers of any size.
TEST(LogitsHash, IsTheWrittenOne) {
  const std::vector<float> row{0.0f, 1.0f, -2.5f};
  EXPECT_EQ(row_hash(row), 0xb05d9ec639df13f7u);
  const std::vector<uint64_t> rows{1, 2, 3};
  EXPECT_EQ(logits_hash(rows), 1u * 1 + 3u * 2 + 5u * 3);
}

TEST(LogitsHash, SeesBitsAndPlacesButNoNanPayload) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto hash = [](const std::vector<float>& row) { return row_hash(row); };
  EXPECT_NE(hash({1, 2}), hash({2, 1}));
  EXPECT_NE(hash({0.0f}), hash({-0.0f}));
  EXPECT_NE(hash({1, 2}), hash({1, 2, 0}));
  EXPECT_EQ(hash({1, nan}), hash({1, std::bit_cast<float>(0xffc12345u)}));
  EXPECT_NE(hash({1, nan}), hash({1, std::numeric_limits<float>::infinity()}));
}

}  // namespace
}  // namespace kvx::eval
