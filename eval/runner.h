// Runs what a run folder lacks, window by window: in each cache mode the base, then every scheme
// beside it.
#pragma once

#include "eval/inputs.h"
#include "eval/store.h"

namespace kvx::eval {

// False: stopped by the user; the folder holds every finished unit.
bool run_missing(const Inputs& inputs, RunFolder& folder, bool quiet);

}  // namespace kvx::eval
