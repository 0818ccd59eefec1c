// config.json of a Hugging Face folder.
#pragma once

#include <string>

#include "sim/api/error.h"
#include "sim/model/config.h"

namespace kvx::model {

// Throws an environment Error naming file, field and value for anything that the engine would not
// compute as written: other architectures, biases, scaled rotary frequencies, quantised weights,
// other activations.
ModelConfig read_hf_config(const std::string& path);

// "architecture 'NAME' is not supported: missing WHAT".
Error unsupported_architecture(const std::string& file, const std::string& name);

}  // namespace kvx::model
