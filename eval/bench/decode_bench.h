// Greedy decode steps of a whole model over caches that hold a context, on either side.
#pragma once

#include "eval/bench/plan.h"

namespace kvx::bench {

// Opens the plan's backend with its model. Contexts are the inputs' rows, the same in every layer,
// stored without a pass; sequences are forks of one. Throws an environment Error where weights or
// caches do not fit. The plan outlives what is made.
BenchMaker decode_benches(const Plan& plan);

}  // namespace kvx::bench
