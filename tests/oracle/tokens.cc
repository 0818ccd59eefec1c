// Token ids for comparison with other tokenizers (token_ids.py). Numbers are little-endian.
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/model/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_lines.h"

namespace {

using kvx::model::Tokenizer;

constexpr const char* kUsage =
    "kvx_tokens lines                      the generated lines: bytes as uint32, then the text\n"
    "kvx_tokens ids MODEL [special]        of each line: number of ids as uint32, then int32 ids\n"
    "kvx_tokens text MODEL FILE [special]  ids of a file\n";

template <class T>
void write(const T* values, size_t count) {
  if (std::fwrite(values, sizeof(T), count, stdout) != count) throw std::runtime_error("write");
}

void write_count(size_t count) {
  const auto value = static_cast<uint32_t>(count);
  write(&value, 1);
}

bool run(const std::vector<std::string>& args) {
  const bool special = !args.empty() && args.back() == "special";
  const size_t count = args.size() - (special ? 1 : 0);
  if (count == 1 && args[0] == "lines") {
    for (const std::string& line : kvx::test::text_lines()) {
      write_count(line.size());
      write(line.data(), line.size());
    }
  } else if (count == 2 && args[0] == "ids") {
    const auto tokenizer = Tokenizer::open(args[1]);
    for (const std::string& line : kvx::test::text_lines()) {
      const std::vector<int32_t> ids = tokenizer->encode(line, true, special);
      write_count(ids.size());
      write(ids.data(), ids.size());
    }
  } else if (count == 3 && args[0] == "text") {
    const auto tokenizer = Tokenizer::open(args[1]);
    const auto ids = tokenizer->encode(kvx::test::read_file(args[2]), true, special);
    write(ids.data(), ids.size());
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (!run({argv + 1, argv + argc})) {
      std::fputs(kUsage, stderr);
      return static_cast<int>(kvx::Exit::kUsage);
    }
    return std::fflush(stdout) == 0 ? 0 : static_cast<int>(kvx::Exit::kNotSaved);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(kvx::Exit::kEnvironment);
  }
}
