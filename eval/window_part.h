// Task `ppl`: window by window, the base and then every scheme beside it.
#pragma once

#include <memory>

#include "eval/run_context.h"

namespace kvx::eval {

std::unique_ptr<RunPart> window_part(RunContext& run);

}  // namespace kvx::eval
