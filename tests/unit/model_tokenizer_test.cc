// Token ids: by hand on the tiny vocabulary, equal from either container, and counts and hashes of
// whole texts.
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/model/checkpoint/sha256.h"
#include "sim/model/tokenizer.h"
#include "tests/data.h"
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

std::string sha256_of(const Ids& ids) {
  model::Sha256 hash;
  hash.update(std::as_bytes(std::span(ids)));
  return hash.hex();
}

// The text that the GPTQ protocol measures: rows joined by two newlines, blank rows made empty.
std::string gptq_text(const std::string& raw) {
  std::string out;
  size_t begin = 0;
  while (begin < raw.size()) {
    const size_t end = raw.find('\n', begin);
    const std::string row = raw.substr(begin, end - begin);
    if (begin > 0) out += "\n\n";
    if (row.find_first_not_of(" \t\r") != std::string::npos) out += row + "\n";
    begin = end + 1;
  }
  return out;
}

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
  EXPECT_EQ(split({{"Regex", "e"}}), (Ids{byte_id('e'), byte_id('.'), byte_id('t'), byte_id('e'),
                                          byte_id('.'), byte_id('t')}));
  EXPECT_EQ(split({{"Regex", "x*"}}), split({{"Regex", "x"}}));  // an empty match cuts nothing
}

TEST_F(TinyTokenizer, DecodeIsTheInverse) {
  std::string text;
  for (char32_t c = 1; c < 0x3000; c += 7) {
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
               static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  text += "\U0001F469\u200D\U0001F52C  the  rain\t\r\n";
  EXPECT_EQ(open()->decode(open()->encode(text, false, false)), text);
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

TEST_F(TinyTokenizer, LongRunsStayFast) {
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = open()->encode(std::string(400000, 'e'), false, false);
  EXPECT_EQ(ids, Ids(200000, id("ee")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// Whole texts: N and hash of the ids as little-endian int32.
struct Pin {
  size_t count;
  std::string sha256;
};

void expect_gptq_ids(const std::string& model, const std::string& raw, const Pin& pin) {
  const auto tokenizer = Tokenizer::open(model);
  const Ids ids = tokenizer->encode(gptq_text(test::read_file(raw)), true, false);
  EXPECT_EQ(ids.size(), pin.count);
  EXPECT_EQ(sha256_of(ids), pin.sha256);
}

TEST(WikiText2, Mistral) {
  KVX_NEED_DATA(raw, "wikitext2/wiki.test.raw");
  KVX_NEED_DATA(model, "tokenizers/mistral-v1");
  expect_gptq_ids(model, raw,
                  {334661, "b486cb81518631d3659a8e3094a64c7a5b923feafbab95a2afc4b208f65a7ee8"});
  EXPECT_EQ(Tokenizer::open(model)
                ->encode(gptq_text(test::read_file(raw)).substr(0, 12), true, false)
                .front(),
            1);
}

TEST(WikiText2, Stories260K) {
  KVX_NEED_DATA(raw, "wikitext2/wiki.test.raw");
  KVX_NEED_DATA(model, "models/stories260K/hf");
  expect_gptq_ids(model, raw,
                  {815066, "286491ac6cedaa8ee52386a86ed8f868792be2bb96ffcf197602284a88c39599"});
}

// Equal to Hugging Face's ids: tests/oracle/compare_tokens.txt.
TEST(WikiText2, SmolLm2) {
  KVX_NEED_DATA(raw, "wikitext2/wiki.test.raw");
  KVX_NEED_MODEL(model, "smollm2-135m.gguf");
  expect_gptq_ids(model, raw,
                  {304978, "aa72485a43ad244db418ec90db75b81905cf39905a80d72a8f56121c2a8593f3"});
  EXPECT_FALSE(Tokenizer::open(model)->adds_bos());
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
