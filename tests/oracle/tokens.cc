// kvx_tokens MODEL TEXTFILE [special]: the ids of a text as little-endian int32 on stdout, for
// comparison with others.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "sim/api/error.h"
#include "sim/model/tokenizer.h"
#include "tests/support/temp_dir.h"

int main(int argc, char** argv) {
  if (argc < 3 || (argc == 4 && std::strcmp(argv[3], "special") != 0) || argc > 4) {
    std::fprintf(stderr, "usage: kvx_tokens MODEL TEXTFILE [special]\n");
    return static_cast<int>(kvx::Exit::kUsage);
  }
  try {
    const auto tokenizer = kvx::model::Tokenizer::open(argv[1]);
    const std::string text = kvx::test::read_file(argv[2]);
    for (const int32_t id : tokenizer->encode(text, true, argc == 4)) {
      std::fwrite(&id, sizeof id, 1, stdout);
    }
    return std::fflush(stdout) == 0 ? 0 : static_cast<int>(kvx::Exit::kNotSaved);
  } catch (const kvx::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.exit());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(kvx::Exit::kEnvironment);
  }
}
