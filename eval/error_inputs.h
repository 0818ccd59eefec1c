// What task `error` is asked to measure: windows of the text that task `ppl` cuts.
#pragma once

#include <cstdint>
#include <vector>

#include "eval/number.h"
#include "eval/options.h"
#include "eval/ppl_inputs.h"

namespace kvx::eval {

struct ErrorInputs {
  std::vector<model::CacheMode> modes;  // all, streamed
  std::vector<int32_t> tokens;          // of the whole text
  Cut cut;                              // of the text into windows
  int64_t windows = 0;
  Json identity;  // everything that decides values
};

void add_error_options(boost::program_options::options_description& options);

// `text`: as the options of task `ppl` say. Throws usage Errors.
ErrorInputs read_error_inputs(const Options& options, const std::vector<model::CacheMode>& modes,
                              const PplInputs& text);

}  // namespace kvx::eval
