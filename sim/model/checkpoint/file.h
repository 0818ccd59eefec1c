// Files as hostile input: mapped read-only, their size known before anything is read.
#pragma once

#include <boost/iostreams/device/mapped_file.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sim/api/error.h"

namespace kvx::model {

// environment_error "FILE: what", one line: control characters as \xNN.
Error file_error(const std::string& file, const std::string& what);

// 'text' fit for one line of an error message: cut to 60 bytes, what is not printable ASCII as
// \xNN.
std::string printable(std::string_view text);

class MappedFile {
 public:
  // Throws file_error when the file is missing, not a regular file or unreadable; empty is allowed.
  explicit MappedFile(const std::string& path);

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const;
  std::string_view text() const;

 private:
  std::string path_;
  boost::iostreams::mapped_file_source map_;
};

}  // namespace kvx::model
