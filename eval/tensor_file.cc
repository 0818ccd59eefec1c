#include "eval/tensor_file.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "eval/files.h"
#include "eval/number.h"
#include "sim/model/checkpoint/safetensors.h"
#include "sim/num/formats.h"

namespace kvx::eval {
namespace {

constexpr size_t kAlignment = 8;  // of the data, by the length of the header

size_t element_size(const Tensor& tensor) {
  size_t count = 1;
  for (const int64_t dim : tensor.shape) count *= static_cast<size_t>(dim);
  return count == 0 ? 0 : tensor.bytes.size() / count;
}

}  // namespace

TensorFile::TensorFile(const std::string& path) : file_(path) {
  for (auto& [name, tensor] : model::read_safetensors(file_))
    tensors_[name] = {tensor.type, tensor.shape, tensor.bytes};
  metadata_ = model::read_safetensors_metadata(file_);
}

std::string TensorFile::sha256() const { return sha256_hex(file_.bytes()); }

std::string TensorFile::metadata(std::string_view key) const {
  const auto found = metadata_.find(std::string(key));
  return found == metadata_.end() ? "" : found->second;
}

const ArtifactTensor* TensorFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void write_tensor_file(const std::string& path, const TensorMap& tensors,
                       const Metadata& metadata) {
  std::vector<const TensorMap::value_type*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return element_size(a->second) > element_size(b->second);
  });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t end = 0;
  for (const auto* entry : order) {
    const Tensor& tensor = entry->second;
    header[entry->first] = {{"dtype", tensor.dtype},
                            {"shape", tensor.shape},
                            {"data_offsets", {end, end + tensor.bytes.size()}}};
    end += tensor.bytes.size();
  }
  std::string text = json_text(header, -1);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = text.size();
  std::vector<std::string_view> pieces{{reinterpret_cast<const char*>(&length), sizeof length},
                                       text};
  for (const auto* entry : order) {
    const auto& bytes = entry->second.bytes;
    pieces.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  write_file(path, pieces);
}

std::vector<float> widened(const ArtifactTensor& tensor, const std::string& name) {
  if (tensor.dtype == "F32") {
    std::vector<float> values(tensor.bytes.size() / 4);
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  if (tensor.dtype != "F16" && tensor.dtype != "BF16")
    throw environment_error(
        fmt::format("tensor '{}' is {}, not F32, F16 or BF16", name, tensor.dtype));
  std::vector<uint16_t> bits(tensor.bytes.size() / 2);
  if (!bits.empty()) std::memcpy(bits.data(), tensor.bytes.data(), tensor.bytes.size());
  std::vector<float> values(bits.size());
  if (tensor.dtype == "F16") {
    num::f16_decode(bits, values);
  } else {
    num::bf16_decode(bits, values);
  }
  return values;
}

std::string type_text(const std::string& dtype, const std::vector<int64_t>& shape) {
  return fmt::format("{} [{}]", dtype, fmt::join(shape, ", "));
}

}  // namespace kvx::eval
