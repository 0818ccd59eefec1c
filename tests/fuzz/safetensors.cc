// The input is the model.safetensors of a small Llama.
#include "tests/fuzz/folder.h"
#include "tests/fuzz/use_model.h"
#include "tests/support/tiny_model.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  kvx::test::write_file(kvx::fuzz::folder() / "config.json",
                        kvx::test::tiny_config_json(kvx::test::smallest_tiny_model()));
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "model.safetensors", [](const std::string&) {
    kvx::fuzz::use_checkpoint(kvx::fuzz::folder().path().string());
  });
  return 0;
}
