// What task `ppl` is asked to measure: a text, cut into windows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/number.h"
#include "eval/options.h"
#include "eval/protocol.h"
#include "sim/model/config.h"
#include "sim/model/tokenizer.h"
#include "sim/model/transformer.h"

namespace kvx::eval {

struct PplInputs {
  std::vector<model::CacheMode> modes;
  std::vector<int32_t> tokens;  // of the whole text
  Cut cut;                      // of the text into windows
  int64_t windows = 0;
  Json identity;  // everything that decides what is scored
  Json data;      // path and bytes of the file
};

void add_ppl_options(boost::program_options::options_description& options);

// The cut that the options ask for, without the BOS, which the tokenizer knows. Throws a usage
// Error.
Cut read_cut(const Options& options, const std::vector<model::CacheMode>& modes);

// Reads and cuts the text. Throws usage and environment Errors.
PplInputs read_ppl_inputs(const Options& options, const std::vector<model::CacheMode>& modes,
                          const model::Tokenizer& tokenizer, const model::ModelConfig& config);

}  // namespace kvx::eval
