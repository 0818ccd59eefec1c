// A folder in memory that one fuzz target rewrites for every input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "sim/api/error.h"
#include "tests/support/temp_dir.h"

namespace kvx::fuzz {

// Kept for the whole process; in /dev/shm where there is one.
inline const test::TempDir& folder() {
  static const test::TempDir dir = [] {
    if (std::filesystem::is_directory("/dev/shm")) setenv("TMPDIR", "/dev/shm", 1);
    return test::TempDir();
  }();
  return dir;
}

inline std::string text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Puts the input where a loader looks for it and runs `use`, which may throw kvx::Error and nothing
// else: any other exception ends the process, and the fuzzer reports it.
template <class Use>
void feed(const uint8_t* data, size_t size, const std::string& file, const Use& use) {
  const std::string path = folder() / file;
  test::write_file(path, text(data, size));
  try {
    use(path);
  } catch (const Error& error) {
    const std::string_view what = error.what();
    // A message is one printable line and the cause is outside the program.
    if (error.exit() != Exit::kEnvironment || what.empty() ||
        what.find('\n') != std::string_view::npos)
      throw;
  }
}

}  // namespace kvx::fuzz
