#include <gtest/gtest.h>

#include "eval/files.h"
#include "eval/text.h"
#include "tests/data.h"

namespace kvx::eval {
namespace {

TEST(Wikitext, RowsKeepTheirLineEndAndBlankOnesBecomeEmpty) {
  EXPECT_EQ(wikitext_rows_joined(" \n = A = \n \n b c \n"), "\n\n = A = \n\n\n\n\n b c \n");
  EXPECT_EQ(wikitext_rows_joined("a\n\t \r\nb"), "a\n\n\n\n\nb");
  EXPECT_EQ(wikitext_rows_joined("one"), "one");
  EXPECT_EQ(wikitext_rows_joined(""), "");
}

TEST(Wikitext, TestSetIsTheTextOfThePublishedNumbers) {
  KVX_NEED_DATA(path, "wikitext2/wiki.test.raw");
  const std::string text = wikitext_rows_joined(read_file(path));
  EXPECT_EQ(text.size(), 1296370u);
  EXPECT_EQ(sha256_hex(text), "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83");
}

TEST(Sha256, OfABlockAndOfNothing) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace kvx::eval
