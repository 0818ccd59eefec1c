// Writers of safetensors and GGUF files for tests; they write what they are told, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace kvx::test {

template <class T>
std::string le_bytes(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
std::string safetensors_file(const std::vector<SafetensorsEntry>& tensors);
// A file with this header, whatever it says.
std::string safetensors_file(const std::string& header, const std::string& data);

class GgufWriter {
 public:
  GgufWriter& u32(const std::string& key, uint32_t value) {
    return scalar(key, 4, le_bytes(value));
  }
  GgufWriter& f32(const std::string& key, float value) { return scalar(key, 6, le_bytes(value)); }
  GgufWriter& boolean(const std::string& key, bool value) {
    return scalar(key, 7, le_bytes<uint8_t>(value));
  }
  GgufWriter& string(const std::string& key, const std::string& value);
  GgufWriter& strings(const std::string& key, const std::vector<std::string>& values);
  GgufWriter& i32s(const std::string& key, const std::vector<int32_t>& values);
  // Any type number and content.
  GgufWriter& scalar(const std::string& key, uint32_t type, const std::string& bytes);
  // `dims` as GGUF has them: the row length first.
  GgufWriter& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                     const std::string& bytes);
  // The same with an offset of the caller's choice; the bytes are still appended to the data.
  GgufWriter& tensor_at(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                        uint64_t offset, const std::string& bytes);
  GgufWriter& erase(const std::string& key);
  std::string file() const;

 private:
  uint64_t tensors_ = 0;
  std::vector<std::pair<std::string, std::string>> values_;  // key; type and content
  std::string info_bytes_;
  std::string data_;
};

}  // namespace kvx::test
