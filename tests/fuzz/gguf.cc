// The input is a GGUF file: checkpoint and tokenizer.
#include "tests/fuzz/folder.h"
#include "tests/fuzz/use_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "model.gguf", kvx::fuzz::use_checkpoint);
  kvx::fuzz::feed(data, size, "model.gguf", [](const std::string& path) {
    kvx::fuzz::use_tokenizer(*kvx::model::Tokenizer::open(path));
  });
  return 0;
}
