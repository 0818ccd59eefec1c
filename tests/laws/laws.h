// The laws as properties of random cases: each draws a case, and fails (RC_ASSERT) where the
// subject breaks the law.
#pragma once

#include "tests/laws/subject.h"

namespace kvx::laws {

void chunk_invariance(const Subject& subject);
void batch_independence(const Subject& subject);
void prefix_stability(const Subject& subject);
void stored_metadata_consistency(const Subject& subject);
void byte_honesty(const Subject& subject);
void attention_reads_what_reads_says(const Subject& subject);
void forks_are_independent(const Subject& subject);
void truncating_gives_a_fresh_cache_or_a_refusal(const Subject& subject);
void canonical_tensors_rebuild_the_image(const Subject& subject);

}  // namespace kvx::laws
