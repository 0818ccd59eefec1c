// GGUF v3, little-endian: magic, version, counts, typed key-values, tensor infos, aligned data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/tensor_table.h"

namespace kvx::model {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
const char* gguf_type_name(GgufType type);

// A checked value as it lies in the file: `bytes` holds the scalar, the string's characters, or the
// array's elements.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // of an array
  uint64_t count = 0;                // of an array
  std::span<const std::byte> bytes;
};

class Gguf {
 public:
  // Checks the whole structure; `file` must live as long as this object. Throws naming the field
  // and its value.
  explicit Gguf(const MappedFile& file);

  const GgufValue* find(const std::string& key) const;  // nullptr if absent

  // Values by key; without a fallback the key must be there. Errors name key and value.
  int64_t integer(const std::string& key,
                  std::optional<int64_t> fallback = {}) const;  // in [0, 2^31), any integer type
  double number(const std::string& key,
                std::optional<double> fallback = {}) const;  // F32 or F64, finite
  bool boolean(const std::string& key, std::optional<bool> fallback = {}) const;
  std::string string(const std::string& key, std::optional<std::string> fallback = {}) const;
  std::vector<std::string_view> strings(const std::string& key) const;
  std::vector<int32_t> integers32(
      const std::string& key) const;  // an array of I32 or U32 below 2^31

  // Key-values in file order.
  const std::vector<std::pair<std::string, GgufValue>>& values() const { return values_; }
  // Tensors in file order; dtype is absent for types that are not read, whose bytes are not known
  // either.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const std::string& path() const { return path_; }

 private:
  const GgufValue& require(const std::string& key) const;
  Error wrong(const std::string& key, const std::string& is, const std::string& expected) const;

  std::string path_;
  std::vector<std::pair<std::string, GgufValue>> values_;
  std::map<std::string, size_t> by_key_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace kvx::model
