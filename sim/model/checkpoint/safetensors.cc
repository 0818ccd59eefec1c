#include "sim/model/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "sim/model/checkpoint/json.h"

namespace kvx::model {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 8;

struct TypeRow {
  const char* name;
  uint64_t size;
  std::optional<DType> dtype;
};
constexpr TypeRow kTypes[] = {
    {"F32", 4, DType::kF32}, {"F16", 2, DType::kF16}, {"BF16", 2, DType::kBf16},
    {"BOOL", 1, {}},         {"U8", 1, {}},           {"I8", 1, {}},
    {"F8_E4M3", 1, {}},      {"F8_E5M2", 1, {}},      {"U16", 2, {}},
    {"I16", 2, {}},          {"U32", 4, {}},          {"I32", 4, {}},
    {"U64", 8, {}},          {"I64", 8, {}},          {"F64", 8, {}},
};

std::string_view header_text(const MappedFile& file) {
  const std::string_view text = file.text();
  uint64_t length = 0;
  if (text.size() < sizeof length) {
    throw file_error(file.path(),
                     fmt::format("has {} bytes, a safetensors header length takes 8", text.size()));
  }
  std::memcpy(&length, text.data(), sizeof length);
  if (length > kMaxHeader || length > text.size() - sizeof length) {
    throw file_error(file.path(), fmt::format("header length is {}, but {} bytes follow (limit {})",
                                              length, text.size() - sizeof length, kMaxHeader));
  }
  return text.substr(sizeof length, length);
}

json read_header(const MappedFile& file, std::string_view text) {
  json header = parse_json(text, file.path());
  if (!header.is_object()) throw file_error(file.path(), "header is not a JSON object");
  return header;
}

const TypeRow& read_type(const JsonFields& fields) {
  const std::string name = fields.string("dtype");
  for (const TypeRow& row : kTypes) {
    if (name == row.name) return row;
  }
  throw fields.wrong("dtype", "a supported type (F32, F16, BF16)");
}

// A list of non-negative integers below 2^63.
std::vector<int64_t> read_list(const JsonFields& fields, const char* key, size_t max_length) {
  const json& list = fields.require(key);
  if (!list.is_array() || list.size() > max_length) {
    throw fields.wrong(key, fmt::format("a list of at most {} integers", max_length));
  }
  std::vector<int64_t> out;
  for (const json& item : list) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() >> 63 != 0) {
      throw fields.wrong(key, "a list of non-negative integers");
    }
    out.push_back(item.get<int64_t>());
  }
  return out;
}

StoredTensor read_tensor(const MappedFile& file, const std::string& name, const json& entry,
                         std::span<const std::byte> data) {
  // The name goes into error messages as it is: make it printable.
  const std::string shown = printable(name);
  const JsonFields fields(entry, file.path(), shown + ".");
  const TypeRow& type = read_type(fields);
  StoredTensor tensor{
      file.path(), name, type.name, type.dtype, read_list(fields, "shape", kMaxRank), {}};
  const std::vector<int64_t> offsets = read_list(fields, "data_offsets", 2);
  if (offsets.size() != 2 || offsets[0] > offsets[1] ||
      static_cast<uint64_t>(offsets[1]) > data.size()) {
    throw fields.wrong("data_offsets",
                       fmt::format("[begin, end] within the {} bytes of data", data.size()));
  }
  const auto begin = static_cast<uint64_t>(offsets[0]);
  const uint64_t length = static_cast<uint64_t>(offsets[1]) - begin;
  uint64_t needed = type.size;
  bool overflow = false;
  for (const int64_t dim : tensor.shape) {
    overflow |= __builtin_mul_overflow(needed, static_cast<uint64_t>(dim), &needed);
  }
  if (overflow || needed != length) {
    throw fields.wrong("shape", fmt::format("what {} bytes of {} hold", length, type.name));
  }
  tensor.bytes = data.subspan(begin, length);
  return tensor;
}

}  // namespace

std::vector<std::pair<std::string, StoredTensor>> read_safetensors(const MappedFile& file) {
  const std::string_view text = header_text(file);
  const json header = read_header(file, text);
  const auto data = file.bytes().subspan(sizeof(uint64_t) + text.size());
  std::vector<std::pair<std::string, StoredTensor>> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") tensors.emplace_back(name, read_tensor(file, name, entry, data));
  }

  std::vector<const StoredTensor*> by_place;
  by_place.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return std::pair(a->bytes.data(), a->bytes.size()) <
           std::pair(b->bytes.data(), b->bytes.size());
  });
  size_t end = 0;
  for (const StoredTensor* tensor : by_place) {
    const auto begin = static_cast<size_t>(tensor->bytes.data() - data.data());
    if (begin != end) {
      throw file_error(
          file.path(),
          fmt::format("field '{}.data_offsets' begins at {}, but the tensors before it end at {}",
                      printable(tensor->stored_name), begin, end));
    }
    end += tensor->bytes.size();
  }
  if (end != data.size()) {
    throw file_error(file.path(),
                     fmt::format("has {} bytes of data, its tensors take {}", data.size(), end));
  }
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const MappedFile& file) {
  const json header = read_header(file, header_text(file));
  std::map<std::string, std::string> metadata;
  const auto found = header.find("__metadata__");
  if (found == header.end()) return metadata;
  const JsonFields fields(*found, file.path(), "__metadata__.");
  for (const auto& [key, value] : found->items()) metadata[key] = fields.string(key);
  return metadata;
}

}  // namespace kvx::model
