// What one call of `kvx eval` is asked to measure.
#pragma once

#include <string>
#include <vector>

#include "eval/artifacts.h"
#include "eval/store.h"
#include "sim/api/descriptor.h"
#include "sim/model/engine.h"

namespace kvx::eval {

// Sweeps expanded, in order; a scheme named twice, in whatever spelling, is taken once, with a
// note.
std::vector<Descriptor> parse_schemes(const std::vector<std::string>& texts, ArtifactStore& store,
                                      const Note& note);

// What is measured, of which cache modes depend.
struct AskedTasks {
  bool ppl = false;
  bool error = false;
  bool generated = false;  // some task that is answered by generation
  bool context = false;    // --context: of ppl
};

struct TaskModes {
  std::vector<model::CacheMode> ppl;        // default: streamed
  std::vector<model::CacheMode> error;      // default: streamed
  std::vector<model::CacheMode> generated;  // default: context-exact
};

// Modes separated by commas or repeated, each once, for the kinds of tasks that are measured; a
// task takes those that it knows. A single pass over a window (ppl) knows prefill-exact and
// context-exact only with a context (--context), which the other two have no use for; `error` knows
// those two alone, generation does not know `all`. A mode that no task knows is a usage Error.
TaskModes parse_modes(const std::vector<std::string>& texts, const AskedTasks& asked);

}  // namespace kvx::eval
