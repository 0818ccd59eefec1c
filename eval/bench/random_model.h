// Models of known shapes with random weights, for timing: nothing is read from disk.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "sim/model/checkpoint.h"

namespace kvx::bench {

inline constexpr std::string_view kRandomPrefix = "random:";

// random:llama-8b (32 layers, 32/8 heads of 128, hidden 4096) or random:qwen-1.5b (28 layers, 12/2
// heads of 128, hidden 1536). Weights are bfloat16 of sizes from 2^-13 to 2^-5, the same in every
// tensor. Throws a usage Error for another name.
std::unique_ptr<model::Checkpoint> random_checkpoint(const std::string& name);

}  // namespace kvx::bench
