// A model and the first tokens of a text, for the verbs that run one through the other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eval/options.h"
#include "eval/tensor_file.h"
#include "sim/model/engine.h"

namespace kvx::eval {

// Adds --model, --data, --format, --tokens and --threads.
void add_model_text_options(boost::program_options::options_description& options);

struct ModelText {
  std::unique_ptr<model::Checkpoint> checkpoint;
  std::vector<int32_t> tokens;  // those that are run
  int threads = 0;
  // Hashes of model, tokenizer and text, and the number of tokens.
  Metadata identity;
};

// Reads and checks what the options name: the first --tokens of the text, at most `longest` (0: as
// many as the model has positions), or all up to there. The text is that of the files of --data in
// the order of their names, each tokenized by itself, a BOS before the first alone; files behind
// the first `enough` tokens are not read. Throws usage and environment Errors.
ModelText read_model_text(const Options& options, int64_t longest = 0, int64_t enough = INT64_MAX);

// The tokens through the model as one sequence in one pass. `tap` sees every layer. Throws an
// environment Error where the model's sliding window is shorter than the sequence.
void run_through(const ModelText& in, const CacheFactory& factory, model::CacheMode mode,
                 NonFinite nonfinite, const std::function<void(const model::LayerTap&)>& tap);

}  // namespace kvx::eval
