// Runs what a run folder lacks, window by window: in each cache mode the base, then every scheme
// beside it, on every backend that was asked for. A unit's values are those of the first backend;
// every other must give the same.
#pragma once

#include "eval/backend.h"
#include "eval/inputs.h"
#include "eval/store.h"

namespace kvx::eval {

// False: stopped by the user; the folder holds every finished unit. `make` is called when a backend
// is first needed. Throws a verdict Error where a backend gives other values than another, or than
// the recorded ones, or where the shadow check finds a difference: the message says where, and
// differences.jsonl too; the unit is not recorded.
bool run_missing(const Inputs& inputs, RunFolder& folder, bool quiet, const BackendMaker& make);

}  // namespace kvx::eval
