#include "sim/model/checkpoint/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "sim/model/checkpoint/blocks.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

constexpr std::array kTypeNames = {"U8",   "I8",     "U16",   "I16", "U32", "I32", "F32",
                                   "BOOL", "STRING", "ARRAY", "U64", "I64", "F64"};
constexpr std::array<uint64_t, 13> kTypeSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr uint64_t kLengthSize = 8;            // of a string or an array, before its content
constexpr uint64_t kMinValueSize = 8 + 4 + 1;  // key length, type, content
constexpr uint64_t kMinTensorSize =
    8 + 4 + 8 + 4 + 8;  // name length, rank, one dimension, type, offset

struct TensorType {
  uint32_t id;
  const char* name;
  std::optional<DType> dtype;  // absent: not read
};
constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {30, "BF16", DType::kBf16},
    {8, "Q8_0", DType::kQ8_0},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},
    {6, "Q5_0", DType::kQ5_0},
    {7, "Q5_1", DType::kQ5_1},
    {12, "Q4_K", DType::kQ4_K},
    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},
    {9, "Q8_1", {}},
    {10, "Q2_K", {}},
    {11, "Q3_K", {}},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}},
    {25, "I16", {}},
    {26, "I32", {}},
    {27, "I64", {}},
    {28, "F64", {}},
    {29, "IQ1_M", {}},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
};

// Reads forward; every length is checked against what is left. `where` names the field being read.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : path_(file.path()), all_(file.bytes()), left_(all_) {}

  std::string where;

  std::span<const std::byte> take(uint64_t count) {
    if (count > left_.size())
      fail(fmt::format("needs {} bytes, {} are left: truncated", count, left_.size()));
    const auto out = left_.first(count);
    left_ = left_.subspan(count);
    return out;
  }

  template <class T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> string() { return take(read<uint64_t>()); }

  // A name: UTF-8 of at least one character.
  std::string name() {
    const auto bytes = string();
    const std::string out(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (out.empty() || find_invalid_utf8(out) != std::string::npos) {
      fail(fmt::format("is {}, not a UTF-8 name", printable(out)));
    }
    return out;
  }

  // How many of something of at least `size` bytes each.
  uint64_t count(uint64_t size) {
    const auto value = read<uint64_t>();
    if (value > left_.size() / size) {
      fail(fmt::format("is {}, but {} bytes are left", value, left_.size()));
    }
    return value;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw file_error(path_, where + " " + what);
  }

  uint64_t offset() const { return all_.size() - left_.size(); }
  std::span<const std::byte> left() const { return left_; }

 private:
  std::string path_;
  std::span<const std::byte> all_;
  std::span<const std::byte> left_;
};

GgufType read_value_type(Cursor& cursor) {
  const auto type = cursor.read<uint32_t>();
  if (type >= kTypeNames.size())
    cursor.fail(fmt::format("has type {}, which GGUF v3 does not define", type));
  return static_cast<GgufType>(type);
}

GgufValue read_value(Cursor& cursor) {
  GgufValue value;
  value.type = read_value_type(cursor);
  if (value.type == GgufType::kString) {
    value.bytes = cursor.string();
  } else if (value.type != GgufType::kArray) {
    value.bytes = cursor.take(kTypeSizes[static_cast<size_t>(value.type)]);
  } else {
    value.element = read_value_type(cursor);
    if (value.element == GgufType::kArray) cursor.fail("is an array of arrays: not supported");
    const uint64_t size = kTypeSizes[static_cast<size_t>(value.element)];
    value.count = cursor.count(size > 0 ? size : kLengthSize);
    const auto start = cursor.left();
    if (size > 0) {
      cursor.take(value.count * size);
    } else {
      for (uint64_t i = 0; i < value.count; ++i) cursor.string();
    }
    value.bytes = start.first(start.size() - cursor.left().size());
  }
  return value;
}

const TensorType& read_tensor_type(Cursor& cursor) {
  const auto id = cursor.read<uint32_t>();
  for (const TensorType& type : kTensorTypes) {
    if (type.id == id) return type;
  }
  cursor.fail(fmt::format("has type {}: type not supported", id));
}

// An info whose `bytes` are still to be set, its length in bytes, and its offset in the data.
struct TensorInfo {
  StoredTensor tensor;
  uint64_t offset = 0;
  uint64_t length = 0;
};

TensorInfo read_tensor_info(Cursor& cursor, const std::string& path) {
  TensorInfo info;
  const std::string name = cursor.name();
  cursor.where = fmt::format("tensor {}", printable(name));
  const auto rank = cursor.read<uint32_t>();
  if (rank < 1 || rank > 4) cursor.fail(fmt::format("has {} dimensions, not 1 to 4", rank));
  uint64_t elements = 1;
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = cursor.read<uint64_t>();
    // 2^60 elements of 4 bytes still fit in 64 bits.
    if (dim == 0 || __builtin_mul_overflow(elements, dim, &elements) || elements >> 60 != 0) {
      cursor.fail(fmt::format("has dimension {} of {}", i, dim));
    }
    shape.push_back(static_cast<int64_t>(dim));
  }
  const TensorType& type = read_tensor_type(cursor);
  if (!type.dtype) {
    throw file_error(path,
                     fmt::format("{} tensor {}: type not supported", type.name, printable(name)));
  }
  const BlockShape block = block_shape(*type.dtype);
  if (shape[0] % block.values != 0) {
    cursor.fail(fmt::format("has rows of {} values, {} needs a multiple of {}", shape[0], type.name,
                            block.values));
  }
  std::reverse(shape.begin(), shape.end());
  info.length = elements / static_cast<uint64_t>(block.values) * static_cast<uint64_t>(block.bytes);
  info.offset = cursor.read<uint64_t>();
  info.tensor = {path, name, type.name, type.dtype, std::move(shape), {}};
  return info;
}

uint64_t read_alignment(const Gguf& gguf) {
  const auto alignment = static_cast<uint64_t>(gguf.integer("general.alignment", 32));
  if (alignment == 0 || alignment % 8 != 0) {
    throw file_error(gguf.path(),
                     fmt::format("key 'general.alignment' is {}, not a multiple of 8", alignment));
  }
  return alignment;
}

void refuse_overlaps(std::vector<TensorInfo> infos, const std::string& path) {
  std::sort(infos.begin(), infos.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < infos.size(); ++i) {
    if (infos[i].offset - infos[i - 1].offset < infos[i - 1].length) {
      throw file_error(path,
                       fmt::format("tensor {} at offset {} overlaps tensor {} of {} bytes at {}",
                                   printable(infos[i].tensor.stored_name), infos[i].offset,
                                   printable(infos[i - 1].tensor.stored_name), infos[i - 1].length,
                                   infos[i - 1].offset));
    }
  }
}

template <class T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Any integer type as a signed 64-bit value; absent for other types and for U64 beyond its range.
std::optional<int64_t> as_integer(GgufType type, std::span<const std::byte> bytes) {
  switch (type) {
    case GgufType::kU8:
      return load<uint8_t>(bytes);
    case GgufType::kI8:
      return load<int8_t>(bytes);
    case GgufType::kU16:
      return load<uint16_t>(bytes);
    case GgufType::kI16:
      return load<int16_t>(bytes);
    case GgufType::kU32:
      return load<uint32_t>(bytes);
    case GgufType::kI32:
      return load<int32_t>(bytes);
    case GgufType::kI64:
      return load<int64_t>(bytes);
    case GgufType::kU64: {
      const auto value = load<uint64_t>(bytes);
      if (value >> 63 != 0) return {};
      return static_cast<int64_t>(value);
    }
    default:
      return {};
  }
}

std::string describe(const GgufValue& value) {
  if (value.type == GgufType::kArray) {
    return fmt::format("an array of {} {}", value.count, gguf_type_name(value.element));
  }
  if (value.type == GgufType::kString) {
    return printable({reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  }
  if (value.type == GgufType::kF32) return fmt::format("{}", load<float>(value.bytes));
  if (value.type == GgufType::kF64) return fmt::format("{}", load<double>(value.bytes));
  if (value.type == GgufType::kBool)
    return fmt::format("the truth value {}", load<uint8_t>(value.bytes));
  if (const auto integer = as_integer(value.type, value.bytes)) return fmt::format("{}", *integer);
  return fmt::format("{}", load<uint64_t>(value.bytes));
}

}  // namespace

const char* gguf_type_name(GgufType type) { return kTypeNames[static_cast<size_t>(type)]; }

Gguf::Gguf(const MappedFile& file) : path_(file.path()) {
  Cursor cursor(file);
  cursor.where = "magic";
  const auto magic = cursor.take(4);
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    cursor.fail(fmt::format("is {}, not 'GGUF'", printable(file.text().substr(0, 4))));
  }
  cursor.where = "version";
  const auto version = cursor.read<uint32_t>();
  if (version != 3) cursor.fail(fmt::format("is {}, not 3 (little-endian)", version));
  cursor.where = "tensor count";
  const uint64_t tensor_count = cursor.count(kMinTensorSize);
  cursor.where = "key-value count";
  const uint64_t value_count = cursor.count(kMinValueSize);

  for (uint64_t i = 0; i < value_count; ++i) {
    cursor.where = fmt::format("key {}", i);
    const std::string key = cursor.name();
    cursor.where = fmt::format("key {}", printable(key));
    if (!by_key_.emplace(key, values_.size()).second) cursor.fail("is there twice");
    values_.emplace_back(key, read_value(cursor));
  }
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    cursor.where = fmt::format("name of tensor {}", i);
    infos.push_back(read_tensor_info(cursor, path_));
    if (!names.insert(infos.back().tensor.stored_name).second) cursor.fail("is there twice");
  }

  const uint64_t alignment = read_alignment(*this);
  const uint64_t padding = (alignment - cursor.offset() % alignment) % alignment;
  cursor.where = "padding before the tensor data";
  if (tensor_count > 0) cursor.take(padding);
  const auto data = cursor.left();
  for (TensorInfo& info : infos) {
    cursor.where = fmt::format("tensor {}", printable(info.tensor.stored_name));
    if (info.offset % alignment != 0) {
      cursor.fail(fmt::format("has offset {}, not a multiple of {}", info.offset, alignment));
    }
    if (info.offset > data.size() || info.length > data.size() - info.offset) {
      cursor.fail(fmt::format("has {} bytes at offset {} of {} bytes of data", info.length,
                              info.offset, data.size()));
    }
    info.tensor.bytes = data.subspan(info.offset, info.length);
    tensors_.push_back(info.tensor);
  }
  refuse_overlaps(std::move(infos), path_);
}

const GgufValue* Gguf::find(const std::string& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &values_[found->second].second;
}

const GgufValue& Gguf::require(const std::string& key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) throw file_error(path_, fmt::format("key '{}' is missing", key));
  return *value;
}

Error Gguf::wrong(const std::string& key, const std::string& is,
                  const std::string& expected) const {
  return file_error(path_, fmt::format("key '{}' is {}, not {}", key, is, expected));
}

int64_t Gguf::integer(const std::string& key, std::optional<int64_t> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const GgufValue& value = require(key);
  const auto integer = as_integer(value.type, value.bytes);
  if (!integer || *integer < 0 || *integer >> 31 != 0) {
    throw wrong(key, describe(value), "an integer from 0 to 2^31 - 1");
  }
  return *integer;
}

double Gguf::number(const std::string& key, std::optional<double> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const GgufValue& value = require(key);
  double number = std::nan("");
  if (value.type == GgufType::kF32) number = static_cast<double>(load<float>(value.bytes));
  if (value.type == GgufType::kF64) number = load<double>(value.bytes);
  if (!std::isfinite(number)) throw wrong(key, describe(value), "a finite number");
  return number;
}

bool Gguf::boolean(const std::string& key, std::optional<bool> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const GgufValue& value = require(key);
  if (value.type != GgufType::kBool || load<uint8_t>(value.bytes) > 1) {
    throw wrong(key, describe(value), "true or false");
  }
  return load<uint8_t>(value.bytes) == 1;
}

std::string Gguf::string(const std::string& key, std::optional<std::string> fallback) const {
  if (fallback && find(key) == nullptr) return *fallback;
  const GgufValue& value = require(key);
  if (value.type != GgufType::kString) throw wrong(key, describe(value), "a string");
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

std::vector<std::string_view> Gguf::strings(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::kArray || value.element != GgufType::kString) {
    throw wrong(key, describe(value), "an array of STRING");
  }
  std::vector<std::string_view> out;
  out.reserve(value.count);
  for (auto left = value.bytes; !left.empty();) {
    const auto length = load<uint64_t>(left);
    out.emplace_back(reinterpret_cast<const char*>(left.data()) + kLengthSize, length);
    left = left.subspan(kLengthSize + length);
  }
  return out;
}

std::vector<int32_t> Gguf::integers32(const std::string& key) const {
  const GgufValue& value = require(key);
  const bool integers = value.element == GgufType::kI32 || value.element == GgufType::kU32;
  if (value.type != GgufType::kArray || !integers)
    throw wrong(key, describe(value), "an array of I32");
  std::vector<int32_t> out(value.count);
  std::memcpy(out.data(), value.bytes.data(), value.bytes.size());
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] < 0)
      throw wrong(fmt::format("{}[{}]", key, i), fmt::format("{}", out[i]),
                  "below 2^31 and not negative");
  }
  return out;
}

}  // namespace kvx::model
