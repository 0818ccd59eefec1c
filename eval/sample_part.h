// A task that is answered by generation: batch by batch of its samples, the base and then every
// scheme on the same contexts.
#pragma once

#include <memory>

#include "eval/run_context.h"

namespace kvx::eval {

std::unique_ptr<RunPart> sample_part(RunContext& run, const TaskInputs& task);

}  // namespace kvx::eval
