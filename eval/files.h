// Whole files in, whole files out, and their hashes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "sim/api/error.h"

namespace kvx::eval {

// The bytes of a file. Throws an environment Error naming path and reason.
std::string read_file(const std::string& path);

// Replaces `path` in one step: a temporary file in the same folder, flushed to disk, then renamed;
// the old content or the new is there at any moment. Throws a not-saved Error naming path and
// reason.
void write_file(const std::string& path, std::string_view content);
// The same with the content in pieces.
void write_file(const std::string& path, std::span<const std::string_view> pieces);

// Writes all of `content` to an open file; false with errno set where that fails.
bool write_all(int fd, std::string_view content);

// Flushes the names in a folder to disk, so that files made in it survive a loss of power. Throws a
// not-saved Error.
void sync_folder(const std::string& folder);

// A not-saved Error naming path and errno.
Error cannot_save(const std::string& path);

// SHA-256, 64 lower-case hex digits.
std::string sha256_hex(std::string_view bytes);
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace kvx::eval
