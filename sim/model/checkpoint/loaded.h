// What reading a checkpoint of either container gives.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/tensor_table.h"
#include "sim/model/config.h"

namespace kvx::model {

struct LoadedFiles {
  explicit LoadedFiles(const std::string& path) : tensors(path) {}

  ModelConfig config;
  TensorTable tensors;
  std::vector<float> rope_divisors;
  // In the order in which they are hashed; tensors point into them.
  std::vector<std::unique_ptr<MappedFile>> files;
};

LoadedFiles load_hf_folder(const std::string& folder);
LoadedFiles load_gguf(const std::string& path);

}  // namespace kvx::model
