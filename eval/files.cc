#include "eval/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace kvx::eval {

Error cannot_save(const std::string& path) {
  return not_saved_error(fmt::format("{}: {}", path, std::strerror(errno)));
}

void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw cannot_save(folder);
  const bool good = ::fsync(fd) == 0;
  const Error error = cannot_save(folder);
  ::close(fd);
  if (!good) throw error;
}

std::string read_file(const std::string& path) {
  const auto fail = [&path] {
    return environment_error(fmt::format("{}: {}", path, std::strerror(errno)));
  };
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) throw fail();
  std::string content;
  std::array<char, 65536> buffer;
  errno = 0;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), file)) > 0;)
    content.append(buffer.data(), n);
  const bool bad = std::ferror(file) != 0;
  const Error error = fail();
  std::fclose(file);
  if (bad) throw error;
  return content;
}

bool write_all(int fd, std::string_view content) {
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

void write_file(const std::string& path, std::string_view content) {
  write_file(path, std::span(&content, 1));
}

void write_file(const std::string& path, std::span<const std::string_view> pieces) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) throw cannot_save(path);
  const auto fail = [&](int open_fd) {
    const Error error = cannot_save(path);
    if (open_fd >= 0) ::close(open_fd);
    ::unlink(temporary.c_str());
    return error;
  };
  for (const std::string_view piece : pieces)
    if (!write_all(fd, piece)) throw fail(fd);
  if (::fsync(fd) != 0) throw fail(fd);
  if (::close(fd) != 0) throw fail(-1);
  if (::rename(temporary.c_str(), path.c_str()) != 0) throw fail(-1);
  sync_folder(std::filesystem::path(path).parent_path().string());
}

std::string sha256_hex(std::string_view bytes) {
  return sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace kvx::eval
