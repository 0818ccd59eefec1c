// The input is a sentencepiece tokenizer.model.
#include "tests/fuzz/folder.h"
#include "tests/fuzz/use_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "tokenizer.model", [](const std::string&) {
    kvx::fuzz::use_tokenizer(*kvx::model::Tokenizer::open(kvx::fuzz::folder().path().string()));
  });
  return 0;
}
