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

// Modes separated by commas or repeated, each once. prefill-exact and context-exact need a context
// (--context), which the other two have no use for: usage Errors.
std::vector<model::CacheMode> parse_ppl_modes(const std::vector<std::string>& texts, bool context);

}  // namespace kvx::eval
