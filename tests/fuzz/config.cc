// The input is the config.json of a folder with the weights of a small Llama.
#include "tests/fuzz/folder.h"
#include "tests/fuzz/use_model.h"
#include "tests/support/tiny_model.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  kvx::test::write_tiny_model(kvx::fuzz::folder().path(), kvx::test::smallest_tiny_model());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "config.json", [](const std::string&) {
    kvx::fuzz::use_checkpoint(kvx::fuzz::folder().path().string());
  });
  return 0;
}
