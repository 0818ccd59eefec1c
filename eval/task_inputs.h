// The tasks that a command line names, and what their options say.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eval/options.h"
#include "eval/tasks/task.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

// Names, each once, `ppl` first, then `error`; none asked for: ppl. Throws a usage Error.
std::vector<std::string> parse_tasks(const std::vector<std::string>& texts);

void add_task_options(boost::program_options::options_description& options);

// Those of `names` that are answered by generation. Throws usage and environment Errors.
std::vector<std::unique_ptr<Task>> make_tasks(const Options& options,
                                              const std::vector<std::string>& names,
                                              const model::Tokenizer& tokenizer);

}  // namespace kvx::eval
