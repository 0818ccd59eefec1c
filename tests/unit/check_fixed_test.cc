// `kvx check` in arithmetic `fixed`: its events, and subjects that it must catch.
#include <gtest/gtest.h>

#include "eval/check/check.h"
#include "ref/registry.h"
#include "sim/api/forwarding_cache.h"
#include "sim/num/fixed_cache.h"

namespace kvx::check {
namespace {

bool shows(const std::string& text, Event event) {
  const Judgement judgement = judge(parse_case(text + " arithmetic=fixed"), cpu_subject());
  EXPECT_TRUE(judgement.good()) << judgement.first();
  return judgement.events.test(static_cast<size_t>(event));
}

TEST(FixedEvents, AreFoundWhereTheyAreAndNotElsewhere) {
  const std::string plain = "scheme=int:k4v4 heads=2/2 steps=40";
  for (const Event event :
       {Event::kTiles, Event::kTileSegments, Event::kSpans, Event::kScoreClamp,
        Event::kLaterMaximum, Event::kFarWeight, Event::kKeyFloor, Event::kValueFloor,
        Event::kExactTile, Event::kExactKeys, Event::kExactValues})
    EXPECT_FALSE(shows(plain, event)) << event_name(event);
  EXPECT_FALSE(shows("scheme=int:k4v4 steps=128", Event::kTiles));
  EXPECT_TRUE(shows("scheme=int:k4v4 steps=128,1", Event::kTiles));
  EXPECT_FALSE(shows("scheme=int:k4v4 heads=1/1 dim=32 steps=1023,1", Event::kTileSegments));
  EXPECT_TRUE(shows("scheme=int:k4v4 heads=1/1 dim=32 steps=1024,1", Event::kTileSegments));
  EXPECT_FALSE(shows("scheme=int:k4v4 heads=1/1 dim=32 steps=8191,1", Event::kSpans));
  EXPECT_TRUE(shows("scheme=int:k4v4 heads=1/1 dim=32 steps=8192,1", Event::kSpans));
  // A product of 65504 and of normal numbers stays below 2^20, of 65504 and outliers of 10 to 50
  // does not; either way one row gets all the weight.
  EXPECT_FALSE(shows("scheme=int:k8v4 steps=260 q=f16-extreme", Event::kScoreClamp));
  EXPECT_TRUE(shows("scheme=int:k8v4 steps=260 k=heavy q=f16-extreme", Event::kScoreClamp));
  EXPECT_TRUE(shows("scheme=int:k8v4 steps=260 q=f16-extreme", Event::kFarWeight));
  EXPECT_TRUE(shows("scheme=int:k8v4 heads=8/2 steps=390,1 q=heavy", Event::kLaterMaximum));
  EXPECT_TRUE(shows("scheme=int:k4v4 steps=40 q=f32-subnormal", Event::kKeyFloor));
  EXPECT_TRUE(shows("scheme=int:k4v4,kaxis=channel steps=40 q=f32-subnormal", Event::kKeyFloor));
  EXPECT_FALSE(shows("scheme=int:k4v4,kaxis=channel steps=30 q=f32-subnormal", Event::kKeyFloor));
  // Constant groups: a scale of 0 in kivi, of 1e-5 / Q in int.
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r0 steps=40 v=constant", Event::kValueFloor));
  EXPECT_FALSE(shows("scheme=int:k2v2,g32 steps=31 k=normal v=ties", Event::kValueFloor));
  // Windows: 256 keys sealed and 132 values; the last tile begins at 256.
  const std::string windows = "scheme=kivi:k2v2 steps=260";
  EXPECT_TRUE(shows(windows, Event::kExactTile));
  EXPECT_TRUE(shows(windows, Event::kExactValues));
  EXPECT_FALSE(shows(windows, Event::kExactKeys));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r0 steps=40", Event::kExactKeys));
  EXPECT_FALSE(shows("scheme=kivi:k2v2,r0 steps=40", Event::kExactTile));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r0 steps=200 v=f16-extreme", Event::kRefused));
}

using Make = std::unique_ptr<LayerCache> (*)(const Descriptor&, const CacheConfig&);

Judgement judged(const std::string& text, Make make) {
  return judge(parse_case(text + " arithmetic=fixed"),
               {"subject", [](std::string_view) { return true; }, make});
}

// Attends to what `affine` of a derived class says.
class OfItsOwn : public ForwardingCache<LayerCache> {
 public:
  using ForwardingCache::ForwardingCache;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    num::fixed::attend(*this, q, spans, out, num::fixed::attend);
  }
};

// The zeros of V are given as they are stored, of code * s - z.
class StoredZeros final : public OfItsOwn {
 public:
  using OfItsOwn::OfItsOwn;
  AffineRows affine(SeqId seq, Side side, int head) const override {
    AffineRows rows = OfItsOwn::affine(seq, side, head);
    if (side == Side::kK || rows.zero == nullptr) return rows;
    const auto [layer, heads, dim] = config().shape;
    const auto count = static_cast<size_t>(length(seq) * dim / rows.group);
    zeros_.assign(rows.zero, rows.zero + count);
    for (float& zero : zeros_) zero = -zero;
    rows.zero = zeros_.data();
    return rows;
  }

 private:
  mutable std::vector<float> zeros_;
};

template <class Wrapper>
std::unique_ptr<LayerCache> wrapped(const Descriptor& descriptor, const CacheConfig& config) {
  return std::make_unique<Wrapper>(ref::make_cache(descriptor, config));
}

std::unique_ptr<LayerCache> in_ieee(const Descriptor& descriptor, const CacheConfig& config) {
  CacheConfig other = config;
  other.arithmetic = Arithmetic::kIeee;
  return ref::make_cache(descriptor, other);
}

TEST(FixedSubjects, AreCaughtInAttentionAlone) {
  const std::string text = "scheme=int:k4v4 heads=4/2 steps=130,3";
  EXPECT_TRUE(judged(text, wrapped<OfItsOwn>).good());
  for (const Make make : {wrapped<StoredZeros>, in_ieee}) {
    const Judgement judgement = judged(text, make);
    EXPECT_EQ(judgement.levels[0].mismatches, 0);
    EXPECT_EQ(judgement.levels[1].mismatches, 0);
    EXPECT_EQ(judgement.levels[2].mismatches, 1);
    EXPECT_GT(judgement.levels[2].compared, 0);
  }
}

// What an append refuses under `fixed`, a subject must refuse in the same words.
TEST(FixedSubjects, MustRefuseScalesThatAreNotFinite) {
  const std::string text = "scheme=kivi:k2v2,r0 steps=64 v=f16-extreme";
  EXPECT_TRUE(judged(text, wrapped<OfItsOwn>).good());
  EXPECT_EQ(judged(text, in_ieee).levels[0].mismatches > 0, true);
}

}  // namespace
}  // namespace kvx::check
