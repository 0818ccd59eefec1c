#include "eval/runner.h"

#include <memory>
#include <vector>

#include "eval/error_part.h"
#include "eval/run_context.h"
#include "eval/sample_part.h"
#include "eval/window_part.h"

namespace kvx::eval {

bool run_missing(const Inputs& inputs, RunFolder& folder, bool quiet, const BackendMaker& make) {
  RunContext context(inputs, folder, make);
  std::vector<std::unique_ptr<RunPart>> parts;
  if (inputs.ppl) parts.push_back(window_part(context));
  if (inputs.error) parts.push_back(error_part(context));
  for (const TaskInputs& task : inputs.tasks) parts.push_back(sample_part(context, task));
  int64_t missing = 0;
  for (const auto& part : parts) missing += part->missing();
  context.progress = std::make_unique<Progress>(missing, quiet);
  for (const auto& part : parts)
    if (!part->run()) return false;
  return true;
}

}  // namespace kvx::eval
