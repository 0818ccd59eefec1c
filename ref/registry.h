// The reference implementations by descriptor.
#pragma once

#include <memory>

#include "sim/api/cache.h"
#include "sim/api/calibrator.h"
#include "sim/api/descriptor.h"

namespace kvx::ref {

// The reference cache of one layer. Throws a usage Error where descriptor and shape do not fit
// (e.g. a group longer than the head dim).
std::unique_ptr<StoredCache> make_cache(const Descriptor& descriptor, const CacheConfig& config);

// Same, bound for the engine. `artifacts` finds what the descriptor names, in place of the
// config's.
StoredCacheFactory factory(const Descriptor& descriptor, const Artifacts& artifacts = nullptr);

// What makes the artifact that the descriptor lacks. Throws a usage Error for a scheme, or a
// setting of it, that is not calibrated.
std::unique_ptr<Calibrator> make_calibrator(const Descriptor& descriptor);

}  // namespace kvx::ref
