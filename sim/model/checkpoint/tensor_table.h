// The tensors of one checkpoint under their Hugging Face names, whatever container they came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sim/model/checkpoint.h"

namespace kvx::model {

struct StoredTensor {
  std::string file;  // where it lies, and what it is called there: for error messages
  std::string stored_name;
  std::string type;            // as the container spells it
  std::optional<DType> dtype;  // absent: a type whose size is known but whose values are not read
  std::vector<int64_t> shape;  // slowest dimension first
  std::span<const std::byte> bytes;
  int64_t rotate_half_heads = 0;
};

class TensorTable {
 public:
  // `source` names the checkpoint in errors about tensors that are not there.
  explicit TensorTable(std::string source) : source_(std::move(source)) {}

  // Throws when the name is taken already.
  void add(const std::string& name, StoredTensor tensor);

  // Checkpoint::tensor.
  TensorRef get(const std::string& name, int64_t rows, int64_t cols) const;

  // Throws unless the table holds exactly the tensors of a decoder of this configuration. Stored
  // rotary frequencies, and the output matrix of a tied model, are let be.
  void require_decoder(const ModelConfig& config) const;

  const StoredTensor* find(const std::string& name) const;  // nullptr if absent
  size_t size() const { return tensors_.size(); }

 private:
  std::string source_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace kvx::model
