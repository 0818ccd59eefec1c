// Property tests run from a fixed seed, so that a failure is one everywhere; RC_PARAMS overrides
// it.
#pragma once

#include <rapidcheck.h>

#include <cstdlib>

namespace kvx::test {

// To be called before the first property, e.g. by a static initialiser.
inline bool fix_properties(const char* parameters = "seed=20240131") {
  return setenv("RC_PARAMS", parameters, 0) == 0;
}

}  // namespace kvx::test
