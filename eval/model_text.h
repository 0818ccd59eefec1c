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
// many as the model has positions), or all up to there. Throws usage and environment Errors.
ModelText read_model_text(const Options& options, int64_t longest = 0);

// The tokens through the model, `length` at a time, each part a sequence of its own in one pass.
// `tap` sees every layer of every part. Throws an environment Error where the model's sliding
// window is shorter than a part.
void run_through(const ModelText& in, int64_t length, const CacheFactory& factory,
                 model::CacheMode mode, NonFinite nonfinite,
                 const std::function<void(const model::LayerTap&)>& tap);

}  // namespace kvx::eval
