// Task `error`: window by window, the unquantised model once, and then every scheme on what its
// layers computed.
#pragma once

#include <memory>

#include "eval/run_context.h"

namespace kvx::eval {

std::unique_ptr<RunPart> error_part(RunContext& run);

}  // namespace kvx::eval
