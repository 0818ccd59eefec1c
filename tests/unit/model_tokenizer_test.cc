// Token ids: by hand on the tiny vocabulary, and equal from either container. Comparison with
// upstream is in model_token_ids_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/model/tokenizer.h"
#include "sim/model/tokenizer/nfc.h"
#include "tests/data.h"
#include "tests/support/text_lines.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::Tokenizer;
using nlohmann::json;
using test::TempDir;
using test::TinyModelSpec;
using Ids = std::vector<int32_t>;

constexpr int32_t kEndOfText = 0;
constexpr int32_t kImStart = 1;
int32_t byte_id(char c) { return 2 + static_cast<unsigned char>(c); }

class TinyTokenizer : public testing::Test {
 protected:
  TinyTokenizer() { test::write_tiny_model(dir_.path(), TinyModelSpec{}); }

  std::unique_ptr<Tokenizer> open() const { return Tokenizer::open(dir_.path().string()); }
  void edit(const std::function<void(json&)>& change) const {
    json tokenizer = json::parse(test::read_file(dir_ / "tokenizer.json"));
    change(tokenizer);
    test::write_file(dir_ / "tokenizer.json", tokenizer.dump());
  }
  // Id of a token by its text in the byte alphabet.
  int32_t id(const std::string& symbols) const {
    return json::parse(test::read_file(dir_ / "tokenizer.json"))["model"]["vocab"]
        .at(symbols)
        .get<int32_t>();
  }

  TempDir dir_;
};

TEST_F(TinyTokenizer, MergesLowestRankFirst) {
  // Ġe, Ġt, .. come before ee, et, ea, ..: " ten" begins with Ġt although "te" is a merge too.
  EXPECT_EQ(open()->encode(" ten", false, false), (Ids{id("\u0120t"), id("en")}));
  EXPECT_EQ(open()->encode("eee", false, false), (Ids{id("ee"), byte_id('e')}));
  EXPECT_EQ(open()->encode("", true, true), Ids{});
}

TEST_F(TinyTokenizer, DigitsStandAlone) {
  EXPECT_EQ(open()->encode("12 3", false, false),
            (Ids{byte_id('1'), byte_id('2'), byte_id(' '), byte_id('3')}));
}

TEST_F(TinyTokenizer, SpecialTokensOnlyWhenAsked) {
  const Ids parsed = {byte_id('x'), kImStart, byte_id('x'), kEndOfText};
  EXPECT_EQ(open()->encode("x<|im_start|>x<|endoftext|>", false, true), parsed);
  const Ids plain = open()->encode("x<|im_start|>x<|endoftext|>", false, false);
  EXPECT_GT(plain.size(), 10u);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), kImStart), 0);
  EXPECT_EQ(open()->decode(plain), open()->decode(parsed));
}

TEST_F(TinyTokenizer, AddedTokenThatIsNotSpecialAlwaysMatches) {
  edit([](json& t) { t["added_tokens"][1]["special"] = false; });
  EXPECT_EQ(open()->encode("<|im_start|>", false, false), Ids{kImStart});
}

TEST_F(TinyTokenizer, LongestAddedTokenWins) {
  edit([](json& t) {
    for (const auto& [content, at] : {std::pair("<|", 320), std::pair("<|im_start|>!", 321)}) {
      json token = t["added_tokens"][0];
      token["id"] = at;
      token["content"] = content;
      t["added_tokens"].push_back(token);
    }
  });
  EXPECT_EQ(open()->encode("<|im_start|>!<|im_start|><|", false, true), (Ids{321, kImStart, 320}));
  EXPECT_EQ(open()->vocab_size(), 322);
}

TEST_F(TinyTokenizer, BosAsTheFilesSay) {
  EXPECT_FALSE(open()->adds_bos());
  EXPECT_EQ(open()->bos(), 1);  // from config.json
  EXPECT_EQ(open()->eos(), 0);
  EXPECT_EQ(open()->encode("x", true, false), (Ids{byte_id('x')}));
  edit([](json& t) {
    t["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "<|endoftext|>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  });
  EXPECT_TRUE(open()->adds_bos());
  EXPECT_EQ(open()->bos(), kEndOfText);
  EXPECT_EQ(open()->encode("x", true, false), (Ids{kEndOfText, byte_id('x')}));
  EXPECT_EQ(open()->encode("x", false, false), (Ids{byte_id('x')}));
  test::write_file(dir_ / "tokenizer_config.json", R"({"eos_token":{"content":"<|im_start|>"}})");
  EXPECT_EQ(open()->eos(), kImStart);
}

TEST_F(TinyTokenizer, MergesAsPairs) {
  const Ids want = open()->encode("the rain in spain", false, false);
  edit([](json& t) {
    for (json& merge : t["model"]["merges"]) {
      const auto text = merge.get<std::string>();
      const size_t space = text.find(' ');
      merge = {text.substr(0, space), text.substr(space + 1)};
    }
  });
  EXPECT_EQ(open()->encode("the rain in spain", false, false), want);
}

TEST_F(TinyTokenizer, IgnoreMergesTakesWholePieces) {
  edit([](json& t) { t["model"]["merges"] = json::array(); });
  EXPECT_EQ(open()->encode("et", false, false), (Ids{byte_id('e'), byte_id('t')}));
  edit([](json& t) { t["model"]["ignore_merges"] = true; });
  EXPECT_EQ(open()->encode("et", false, false), Ids{id("et")});
}

TEST_F(TinyTokenizer, SplitByRegexAndByText) {
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const auto split = [&](const json& pattern) {
    edit([&](json& t) {
      t["pre_tokenizer"] = {
          {"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"behavior", "Isolated"}, {"invert", false}, {"pattern", pattern}},
            byte_level}}};
    });
    return open()->encode("e.te.t", false, false);
  };
  const Ids at_dots = {byte_id('e'), byte_id('.'), id("te"), byte_id('.'), byte_id('t')};
  EXPECT_EQ(split({{"Regex", "\\."}}), at_dots);
  EXPECT_EQ(split({{"String", "."}}), at_dots);
  EXPECT_EQ(split({{"String", "\\s"}}), split({{"Regex", "x"}}));
  EXPECT_EQ(split({{"Regex", "^e$"}}), split({{"Regex", "x"}}));
  EXPECT_EQ(split({{"Regex", "e"}}), (Ids{byte_id('e'), byte_id('.'), byte_id('t'), byte_id('e'),
                                          byte_id('.'), byte_id('t')}));
  EXPECT_EQ(split({{"Regex", "x*"}}), split({{"Regex", "x"}}));  // an empty match cuts nothing
}

TEST_F(TinyTokenizer, DecodeIsTheInverse) {
  const auto tokenizer = open();
  for (const std::string& line : test::text_lines()) {
    for (const bool special : {false, true})
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(line, false, special)), line);
  }
  const std::string nul("\0a\0\0", 4);
  EXPECT_EQ(tokenizer->encode(nul, false, false),
            (Ids{byte_id('\0'), byte_id('a'), byte_id('\0'), byte_id('\0')}));
}

// Of the Unicode Standard: 3.11 (canonical order, composition, Hangul) and Annex 15 (exclusions).
TEST(FormC, AsTheStandardSays) {
  const auto nfc = [](const std::string& text) { return model::to_nfc(text).value_or(text); };
  EXPECT_EQ(nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(nfc("\u212b"), "\u00c5");                // a singleton
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");  // marks in order of their class
  EXPECT_EQ(nfc("d\u0307\u0323"), "\u1e0d\u0307");   // .. then composed
  EXPECT_EQ(nfc("a\u0315\u0300\u05ae\u0300b"), "\u00e0\u05ae\u0300\u0315b");
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "\ud55c");  // Hangul
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");        // excluded from composition
  EXPECT_EQ(nfc("\u0344"), "\u0308\u0301");
  EXPECT_EQ(nfc("\U0001d15e"), "\U0001d157\U0001d165");
  EXPECT_EQ(nfc(std::string("\0e\u0301\0", 5)), std::string("\0\u00e9\0", 4));
  // Newer than Unicode 9, so inert: U+11938 (13) and the mark U+1183A (11).
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");
  EXPECT_EQ(nfc("\u0345\U0001183a\u0334"), "\u0345\U0001183a\u0334");
  for (const char* text : {"", "plain", "\u00e9\u00ff", "\u4e2d\u6587", "\U0001f600\ufe0f"})
    EXPECT_FALSE(model::to_nfc(text)) << text;
  for (const std::string& line : test::text_lines())
    ASSERT_FALSE(model::to_nfc(nfc(line))) << "not stable: " << line.substr(0, 200);
}

TEST_F(TinyTokenizer, NormalisesWhatTheFileSays) {
  const Ids composed = open()->encode("\u00e9", false, false);
  EXPECT_NE(open()->encode("e\u0301", false, false), composed);
  edit([](json& t) { t["normalizer"] = {{"type", "NFC"}}; });
  EXPECT_EQ(open()->encode("e\u0301", false, false), composed);
  edit([](json& t) { t["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}}; });
  EXPECT_NE(open()->encode("e\u0301", false, false), composed);
}

TEST_F(TinyTokenizer, SameIdsFromGguf) {
  test::write_tiny_gguf(dir_ / "tiny.gguf", TinyModelSpec{}, model::DType::kF32);
  const auto gguf = Tokenizer::open(dir_ / "tiny.gguf");
  const std::string text = "the  rain <|im_start|> in\n\n 1984 don't\u00e9\u4e2d \u2003x";
  EXPECT_EQ(gguf->encode(text, true, true), open()->encode(text, true, true));
  EXPECT_EQ(gguf->encode(text, true, false), open()->encode(text, true, false));
  EXPECT_EQ(gguf->vocab_size(), open()->vocab_size());
  EXPECT_EQ(gguf->bos(), open()->bos());
  EXPECT_EQ(gguf->eos(), open()->eos());
  EXPECT_EQ(gguf->kind(), "byte-level bpe (smollm)");
  EXPECT_EQ(gguf->sha256().size(), 64u);
}

TEST_F(TinyTokenizer, AddedTokensTakeSpaceAndStandAlone) {
  edit([](json& t) {
    const auto add = [&](const char* content, int id, const char* flag) {
      t["added_tokens"].push_back({{"id", id},
                                   {"content", content},
                                   {"special", false},
                                   {"normalized", false},
                                   {flag, true}});
    };
    add("<l>", 320, "lstrip");
    add("<r>", 321, "rstrip");
    add("mid", 322, "single_word");
  });
  const auto tokenizer = open();
  const auto ids = [&](const char* text) { return tokenizer->encode(text, false, false); };
  const int32_t x = byte_id('x');
  EXPECT_EQ(ids("x \u3000<l> x"), (Ids{x, 320, id("\u0120x")}));
  EXPECT_EQ(ids("<r>\n x"), (Ids{321, x}));
  EXPECT_EQ(ids("<r> <l>"), (Ids{321, 320}));
  EXPECT_EQ(ids("mid-mid"), (Ids{322, byte_id('-'), 322}));
  for (const char* inside : {"midx", "xmid", "mid_", "mid\u0301", "9mid", "mid\u200d", "\u24b6mid"})
    EXPECT_EQ(std::ranges::count(ids(inside), 322), 0) << inside;
}

TEST_F(TinyTokenizer, PatternsThatNeedADeepStack) {
  edit([](json& t) {
    t["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Split"},
                                              {"behavior", "Isolated"},
                                              {"pattern", {{"Regex", "(?:(\\p{L})|\\p{N})+"}}}};
  });
  EXPECT_EQ(open()->encode(std::string(200000, 'x'), false, false), Ids(200000, byte_id('x')));
}

TEST_F(TinyTokenizer, LongRunsStayFast) {
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = open()->encode(std::string(400000, 'e'), false, false);
  EXPECT_EQ(ids, Ids(200000, id("ee")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(SentencePiece, SpecialTokensAndBos) {
  KVX_NEED_DATA(model, "models/stories260K/hf/tokenizer.model");
  const TempDir dir;
  std::filesystem::copy_file(model, dir / "tokenizer.model");
  const auto tokenizer = Tokenizer::open(dir.path().string());
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  EXPECT_EQ(tokenizer->vocab_size(), 512);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->sha256(),
            "dfff07d929db979913f166ec94a6f5ecad4c70cfed8eb5c9cbe7e464455e46f5");
  const Ids once = {403, 407, 261, 378};  // "Once upon a time"
  EXPECT_EQ(tokenizer->encode("Once upon a time", false, false), once);
  EXPECT_EQ(tokenizer->decode(once), "Once upon a time");
  Ids want = {1};
  want.insert(want.end(), once.begin(), once.end());
  want.push_back(2);
  EXPECT_EQ(tokenizer->encode("Once upon a time</s>", true, true), want);
  EXPECT_GT(tokenizer->encode("Once upon a time</s>", true, false).size(), want.size());
  test::write_file(dir / "tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_FALSE(Tokenizer::open(dir.path().string())->adds_bos());
  EXPECT_EQ(Tokenizer::open(dir.path().string())->encode("Once upon a time", true, false), once);
}

}  // namespace
}  // namespace kvx
