#include "tests/support/model_writer.h"

#include <nlohmann/json.hpp>

namespace kvx::test {
namespace {

constexpr size_t kAlignment = 32;

std::string gguf_string(const std::string& text) { return le_bytes<uint64_t>(text.size()) + text; }

void pad(std::string& bytes) {
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

std::string safetensors_file(const std::string& header, const std::string& data) {
  return le_bytes<uint64_t>(header.size()) + header + data;
}

std::string safetensors_file(const std::vector<SafetensorsEntry>& tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::string data;
  for (const SafetensorsEntry& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  return safetensors_file(header.dump(), data);
}

GgufWriter& GgufWriter::scalar(const std::string& key, uint32_t type, const std::string& bytes) {
  values_.emplace_back(key, le_bytes(type) + bytes);
  return *this;
}

GgufWriter& GgufWriter::erase(const std::string& key) {
  std::erase_if(values_, [&](const auto& value) { return value.first == key; });
  return *this;
}

GgufWriter& GgufWriter::string(const std::string& key, const std::string& value) {
  return scalar(key, 8, gguf_string(value));
}

GgufWriter& GgufWriter::strings(const std::string& key, const std::vector<std::string>& values) {
  std::string bytes = le_bytes<uint32_t>(8) + le_bytes<uint64_t>(values.size());
  for (const std::string& value : values) bytes += gguf_string(value);
  return scalar(key, 9, bytes);
}

GgufWriter& GgufWriter::i32s(const std::string& key, const std::vector<int32_t>& values) {
  std::string bytes = le_bytes<uint32_t>(5) + le_bytes<uint64_t>(values.size());
  for (const int32_t value : values) bytes += le_bytes(value);
  return scalar(key, 9, bytes);
}

GgufWriter& GgufWriter::tensor(const std::string& name, const std::vector<uint64_t>& dims,
                               uint32_t type, const std::string& bytes) {
  return tensor_at(name, dims, type, data_.size(), bytes);
}

GgufWriter& GgufWriter::tensor_at(const std::string& name, const std::vector<uint64_t>& dims,
                                  uint32_t type, uint64_t offset, const std::string& bytes) {
  ++tensors_;
  info_bytes_ += gguf_string(name) + le_bytes(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) info_bytes_ += le_bytes(dim);
  info_bytes_ += le_bytes(type) + le_bytes(offset);
  data_ += bytes;
  pad(data_);
  return *this;
}

std::string GgufWriter::file() const {
  std::string out =
      "GGUF" + le_bytes<uint32_t>(3) + le_bytes(tensors_) + le_bytes<uint64_t>(values_.size());
  for (const auto& [key, value] : values_) out += gguf_string(key) + value;
  out += info_bytes_;
  pad(out);
  return out + data_;
}

}  // namespace kvx::test
