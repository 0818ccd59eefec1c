// A whole text in the tokens and chunks of llama.cpp's perplexity tool.
#include <gtest/gtest.h>

#include "eval/files.h"
#include "eval/protocol.h"
#include "sim/model/tokenizer.h"
#include "tests/data.h"
#include "tests/support/temp_dir.h"

namespace kvx::eval {
namespace {

// Figures of llama.cpp's perplexity tool with this tokenizer; the ids by sentencepiece's own
// Python package.
TEST(Protocol, LlamaCppsWikitextInMistralsTokens) {
  KVX_NEED_DATA(path, "wikitext2/wiki.test.raw");
  KVX_NEED_DATA(model, "tokenizers/mistral-v1");
  const auto tokenizer = model::Tokenizer::open(model);
  const auto ids =
      tokenizer->encode(protocol_text(Protocol::kLlamaCpp, test::read_file(path)), true, false);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(ids.size(), 328879u);
  EXPECT_EQ(static_cast<int64_t>(ids.size()) / default_length(Protocol::kLlamaCpp), 642);
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(ids))),
            "8c9b0b1ae34df48732fdac10fd647f546648ae65930582e1a8ca985f919f4a03");
  const Cut cut{Protocol::kLlamaCpp, 512, 0, tokenizer->bos()};
  for (const int64_t index : {0, 1, 641}) EXPECT_EQ(window_tokens(cut, ids, index).front(), 1);
}

}  // namespace
}  // namespace kvx::eval
