// The command line of `kvx eval` and everything it names, checked before anything is measured or
// written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/artifacts.h"
#include "eval/backend.h"
#include "eval/error_inputs.h"
#include "eval/number.h"
#include "eval/options.h"
#include "eval/ppl_inputs.h"
#include "eval/store.h"
#include "eval/tasks/task.h"
#include "sim/api/descriptor.h"
#include "sim/model/checkpoint.h"
#include "sim/model/tokenizer.h"
#include "sim/model/transformer.h"

namespace kvx::eval {

// A task that is answered by generation.
struct TaskInputs {
  std::shared_ptr<const Task> task;
  std::vector<model::CacheMode> modes;

  std::string versioned() const;  // "needle@1"
};

struct Inputs {
  std::vector<Descriptor> schemes;
  ArtifactStore artifacts;  // those that the schemes name
  std::unique_ptr<model::Checkpoint> checkpoint;
  std::unique_ptr<model::Tokenizer> tokenizer;
  std::optional<PplInputs> ppl;
  std::optional<ErrorInputs> error;
  std::vector<TaskInputs> tasks;
  int64_t batch = 0;  // samples that are generated together, at most
  NonFinite nonfinite = NonFinite::kRefuse;
  Arithmetic arithmetic = Arithmetic::kIeee;  // of attention under every scheme but fp:f32
  std::vector<std::string> backends;          // that run every unit, at least one
  int64_t shadow_layers = 0;                  // of every pass that is not the CPU's (shadow.h)
  uint64_t seed = 1;
  int threads = 0;
  std::string out;  // run folder
  Json header;      // its run.json
};

boost::program_options::options_description eval_options();

// Where a run folder keeps copies of what its schemes name.
std::string kept_artifacts(const std::string& run_folder);

// Reads and checks model, text and schemes. `words` is recorded as the command. Throws usage and
// environment Errors.
Inputs read_inputs(const Options& options, const std::vector<std::string>& words, const Note& note);

}  // namespace kvx::eval
