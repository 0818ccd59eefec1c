// The frame of programs that compute something of one window of token ids for comparison with
// others.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/model/checkpoint.h"
#include "tests/support/temp_dir.h"

namespace kvx::test {

// NAME MODEL IDSFILE (token ids as little-endian int32): `write` puts its results on stdout.
// Returns the exit code.
inline int window_program(
    int argc, char** argv, const char* name,
    const std::function<void(const model::Checkpoint&, const std::vector<int32_t>&)>& write) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL IDSFILE\n", name);
    return static_cast<int>(Exit::kUsage);
  }
  try {
    const std::string bytes = read_file(argv[2]);
    std::vector<int32_t> tokens(bytes.size() / sizeof(int32_t));
    std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(int32_t));
    const auto checkpoint = model::Checkpoint::open(argv[1]);
    write(*checkpoint, tokens);
    return std::fflush(stdout) == 0 ? 0 : static_cast<int>(Exit::kNotSaved);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.exit());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(Exit::kEnvironment);
  }
}

}  // namespace kvx::test
