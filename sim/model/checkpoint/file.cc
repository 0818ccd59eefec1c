#include "sim/model/checkpoint/file.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

namespace kvx::model {

Error file_error(const std::string& file, const std::string& what) {
  std::string line = file + ": ";
  for (const char c : what) {  // libraries quote what they read
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return environment_error(line);
}

std::string printable(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw file_error(path, "no such file");
  if (!std::filesystem::is_regular_file(status)) throw file_error(path, "not a regular file");
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw file_error(path, error.message());
  if (size == 0) return;  // the mapping library refuses an empty file
  try {
    map_.open(path);
  } catch (const std::exception& failure) {
    throw file_error(path, fmt::format("cannot be read ({})", failure.what()));
  }
  if (map_.size() != size) throw file_error(path, "changed its size while it was opened");
}

std::span<const std::byte> MappedFile::bytes() const {
  if (!map_.is_open()) return {};
  return std::as_bytes(std::span(map_.data(), map_.size()));
}

std::string_view MappedFile::text() const {
  if (!map_.is_open()) return {};
  return {map_.data(), map_.size()};
}

}  // namespace kvx::model
