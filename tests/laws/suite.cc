#include "tests/laws/suite.h"

#include "tests/support/property.h"

namespace kvx::laws {
namespace {

[[maybe_unused]] const bool kFixed = test::fix_properties("seed=20240131 max_success=25");

bool claimed(const Subject& subject, Law law) {
  return claims(subject.make(Windows::kKept)->traits().laws, law);
}

void check(const Subject& subject, void (*property)(const Subject&)) {
  test::check_property([&] { property(subject); });
}

}  // namespace

// Which laws a registered scheme does not claim is pinned in registered_test.cc.
#define KVX_LAW(name, law, property)                                             \
  TEST_P(Laws, name) {                                                           \
    if (!claimed(GetParam(), law)) GTEST_SKIP() << "not claimed by this scheme"; \
    check(GetParam(), property);                                                 \
  }
KVX_LAW(ChunkInvariance, Law::kChunk, chunk_invariance)
KVX_LAW(BatchIndependence, Law::kBatch, batch_independence)
KVX_LAW(PrefixStability, Law::kPrefix, prefix_stability)
KVX_LAW(StoredMetadataConsistency, Law::kMetadata, stored_metadata_consistency)
KVX_LAW(ByteHonesty, Law::kBytes, byte_honesty)
#undef KVX_LAW

// What every cache owes its callers.
TEST_P(Laws, AttentionReadsWhatReadsSays) {
  if (GetParam().make(Windows::kKept)->traits().query_dependent_read) {
    GTEST_SKIP() << "only attend can tell what is read";
  }
  if (GetParam().make(Windows::kKept)->config().arithmetic == Arithmetic::kFixed) {
    GTEST_SKIP() << "reads codes: ref_fixed_test";
  }
  check(GetParam(), attention_reads_what_reads_says);
}
TEST_P(Laws, ForksAreIndependent) { check(GetParam(), forks_are_independent); }
TEST_P(Laws, TruncatingGivesAFreshCacheOrARefusal) {
  check(GetParam(), truncating_gives_a_fresh_cache_or_a_refusal);
}
TEST_P(Laws, CanonicalTensorsRebuildTheImage) {
  if (stored(*GetParam().make(Windows::kKept)) == nullptr) {
    GTEST_SKIP() << "this cache does not take its content back";
  }
  check(GetParam(), canonical_tensors_rebuild_the_image);
}

}  // namespace kvx::laws
