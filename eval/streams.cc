#include "eval/streams.h"

#include <cstdio>

#include "eval/files.h"

namespace kvx::eval {

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    throw cannot_save("standard output");
}

void tell(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace kvx::eval
