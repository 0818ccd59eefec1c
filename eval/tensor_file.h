// Files of named tensors (safetensors) in and out. What is read may be anybody's: every size is
// checked against the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/api/artifact.h"
#include "sim/model/checkpoint/file.h"

namespace kvx::eval {

struct Tensor {
  std::string dtype;           // as safetensors spells it
  std::vector<int64_t> shape;  // slowest dimension first
  std::vector<std::byte> bytes;
};
using TensorMap = std::map<std::string, Tensor>;      // by name
using Metadata = std::map<std::string, std::string>;  // the header's "__metadata__"

class TensorFile final : public Artifact {
 public:
  // Throws environment Errors naming file, field and value.
  explicit TensorFile(const std::string& path);

  std::string source() const override { return file_.path(); }
  std::string sha256() const override;
  std::string metadata(std::string_view key) const override;
  const ArtifactTensor* find(std::string_view name) const override;
  std::string_view text() const { return file_.text(); }  // the whole file

  const std::map<std::string, ArtifactTensor, std::less<>>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

 private:
  model::MappedFile file_;
  std::map<std::string, ArtifactTensor, std::less<>> tensors_;  // bytes point into file_
  Metadata metadata_;
};

// Writes the file in one step (write_file); equal content gives equal bytes. Tensors lie by element
// size, the largest first, so that each is aligned, then by name. Throws a not-saved Error.
void write_tensor_file(const std::string& path, const TensorMap& tensors, const Metadata& metadata);

// Values of an F32, F16 or BF16 tensor, widened to binary32. Throws an environment Error
// "tensor 'NAME' is DTYPE, ..." for another dtype.
std::vector<float> widened(const ArtifactTensor& tensor, const std::string& name);

// "F32 [1, 2]"
std::string type_text(const std::string& dtype, const std::vector<int64_t>& shape);

}  // namespace kvx::eval
