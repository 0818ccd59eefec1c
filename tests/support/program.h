// The program `kvx` as a user runs it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace kvx::test {

struct Outcome {
  int code;
  std::string out, err;
};

// KVX_PROGRAM with these words. file_limit: the most bytes that it may write to one file.
inline Outcome kvx_run(const std::vector<std::string>& words,
                       std::optional<rlim_t> file_limit = {}) {
  std::vector<std::string> args{KVX_PROGRAM};
  args.insert(args.end(), words.begin(), words.end());
  Process process(args, file_limit);
  const int code = process.wait();
  return {code, process.out(), process.err()};
}

}  // namespace kvx::test
