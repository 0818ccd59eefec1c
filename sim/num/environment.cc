#include "sim/num/environment.h"

#include <immintrin.h>

#include <cfloat>

#include "sim/api/error.h"

namespace kvx::num {

static_assert(FLT_EVAL_METHOD == 0, "binary32 must not be widened");

void require_ieee_environment() {
  constexpr unsigned kFlushToZero = 0x8000;
  constexpr unsigned kDenormalsAreZero = 0x0040;
  constexpr unsigned kRounding = 0x6000;
  const unsigned mxcsr = _mm_getcsr();
  if (mxcsr & kFlushToZero) throw environment_error("MXCSR: a library has set flush-to-zero");
  if (mxcsr & kDenormalsAreZero)
    throw environment_error("MXCSR: a library has set denormals-are-zero");
  if (mxcsr & kRounding) throw environment_error("MXCSR: rounding is not to nearest even");
}

}  // namespace kvx::num
