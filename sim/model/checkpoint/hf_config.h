// config.json of a Hugging Face folder.
#pragma once

#include <string>

#include "sim/model/config.h"

namespace kvx::model {

// Throws an environment Error naming file, field and value for anything that the engine would not
// compute as written: other architectures, other rules of rotation, quantised weights, other
// activations.
ModelConfig read_hf_config(const std::string& path);

}  // namespace kvx::model
