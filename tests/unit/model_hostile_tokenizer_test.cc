// Tokenizer files that are broken or lie: each is refused with the file, the field and the value.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/model/tokenizer.h"
#include "tests/support/expect_refused.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using model::Tokenizer;
using nlohmann::json;
using test::GgufWriter;
using test::TempDir;
using test::TinyModelSpec;

constexpr const char* kJson = "tokenizer.json";
constexpr const char* kGguf = "tiny.gguf";

struct JsonCase {
  const char* name;
  std::function<void(json&)> spoil;
  std::vector<std::string> words;
};

std::ostream& operator<<(std::ostream& out, const JsonCase& c) { return out << c.name; }

const json kByteLevel = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};

const std::vector<JsonCase> kJsonCases = {
    {"NoModel", [](json& t) { t.erase("model"); }, {"'model'", "missing"}},
    {"Unigram", [](json& t) { t["model"]["type"] = "Unigram"; }, {"model.type", "Unigram"}},
    {"NoVocab", [](json& t) { t["model"].erase("vocab"); }, {"model.vocab", "missing"}},
    {"VocabList",
     [](json& t) { t["model"]["vocab"] = json::array(); },
     {"model.vocab", "not an object"}},
    {"IdText", [](json& t) { t["model"]["vocab"]["e"] = "7"; }, {"model.vocab", "'e'"}},
    {"IdNegative", [](json& t) { t["model"]["vocab"]["e"] = -1; }, {"model.vocab", "'e'", "-1"}},
    {"IdHuge",
     [](json& t) { t["model"]["vocab"]["e"] = 4000000000u; },
     {"model.vocab", "'e'", "4000000000"}},
    {"IdTwice", [](json& t) { t["model"]["vocab"]["e"] = 5; }, {"model.vocab", "id 5", "'e'"}},
    {"IdMissing",
     [](json& t) {
       t["model"]["vocab"].erase("et");
       t["model"]["merges"] = json::array();
     },
     {"model.vocab", "no token of id"}},
    {"AddedOther",
     [](json& t) { t["added_tokens"][0]["content"] = "<x>"; },
     {"added_tokens", "id 0", "<x>"}},
    {"AddedEmpty", [](json& t) { t["added_tokens"][0]["content"] = ""; }, {"added_tokens", "id 0"}},
    {"AddedStrip", [](json& t) { t["added_tokens"][0]["lstrip"] = true; }, {"added_tokens.lstrip"}},
    {"MergesMissing", [](json& t) { t["model"].erase("merges"); }, {"model.merges", "missing"}},
    {"MergeOfOne", [](json& t) { t["model"]["merges"][3] = "abc"; }, {"model.merges[3]", "abc"}},
    {"MergeOfThree",
     [](json& t) {
       t["model"]["merges"][3] = {"a", "b", "c"};
     },
     {"model.merges[3]"}},
    {"MergeNumber", [](json& t) { t["model"]["merges"][3] = 1; }, {"model.merges[3]", "1"}},
    {"MergeUnknown",
     [](json& t) { t["model"]["merges"][3] = "zz q"; },
     {"merge 3", "'zz'", "not in the vocabulary"}},
    {"MergeResultUnknown",
     [](json& t) { t["model"]["merges"][3] = "z z"; },
     {"merge 3", "'zz'", "not in the vocabulary"}},
    {"UnkUnknown",
     [](json& t) { t["model"]["unk_token"] = "<none>"; },
     {"model.unk_token", "<none>"}},
    {"Dropout", [](json& t) { t["model"]["dropout"] = 0.1; }, {"model.dropout"}},
    {"ByteFallback", [](json& t) { t["model"]["byte_fallback"] = true; }, {"model.byte_fallback"}},
    {"WordSuffix",
     [](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; },
     {"model.end_of_word_suffix"}},
    {"Normalizer",
     [](json& t) {
       t["normalizer"] = {{"type", "NFC"}};
     },
     {"normalizer 'NFC'", "not supported"}},
    {"NoPreTokenizer",
     [](json& t) { t["pre_tokenizer"] = nullptr; },
     {"pre_tokenizer", "ByteLevel"}},
    {"PrefixSpace",
     [](json& t) {
       t["pre_tokenizer"] = kByteLevel;
       t["pre_tokenizer"]["add_prefix_space"] = true;
     },
     {"pre_tokenizer.add_prefix_space"}},
    {"Metaspace",
     [](json& t) {
       t["pre_tokenizer"] = {{"type", "Metaspace"}};
     },
     {"pre_tokenizer 'Metaspace'"}},
    {"PatternBroken",
     [](json& t) {
       t["pre_tokenizer"] = {
           {"type", "Sequence"},
           {"pretokenizers",
            {{{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "(a"}}}},
             kByteLevel}}};
     },
     {"'(a'", "does not compile"}},
    {"SplitRemoves",
     [](json& t) {
       t["pre_tokenizer"] = {
           {"type", "Sequence"},
           {"pretokenizers",
            {{{"type", "Split"}, {"behavior", "Removed"}, {"pattern", {{"Regex", "a"}}}},
             kByteLevel}}};
     },
     {"Removed"}},
    {"BertTemplate",
     [](json& t) {
       t["post_processor"] = {{"type", "BertProcessing"}};
     },
     {"post_processor 'BertProcessing'"}},
    {"TemplateWithEos",
     [](json& t) {
       t["post_processor"] = {
           {"type", "TemplateProcessing"},
           {"single",
            {{{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "<|endoftext|>"}}}}}}};
     },
     {"post_processor.single"}},
    {"TemplateUnknown",
     [](json& t) {
       t["post_processor"] = {
           {"type", "TemplateProcessing"},
           {"single", {{{"SpecialToken", {{"id", "<none>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
     },
     {"post_processor.single.SpecialToken.id", "<none>"}},
};

class HostileTokenizerJson : public testing::TestWithParam<JsonCase> {};

TEST_P(HostileTokenizerJson, IsRefused) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  ASSERT_NO_THROW(Tokenizer::open(dir.path().string()));
  json tokenizer = json::parse(test::read_file(dir / kJson));
  GetParam().spoil(tokenizer);
  test::write_file(dir / kJson, tokenizer.dump());
  std::vector<std::string> words = GetParam().words;
  words.push_back(kJson);
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); }, words);
}

INSTANTIATE_TEST_SUITE_P(All, HostileTokenizerJson, testing::ValuesIn(kJsonCases),
                         [](const auto& param) { return std::string(param.param.name); });

struct GgufCase {
  const char* name;
  const char* key;  // removed before `add`
  std::function<void(GgufWriter&)> add;
  std::vector<std::string> words;
};

std::ostream& operator<<(std::ostream& out, const GgufCase& c) { return out << c.name; }

const std::vector<GgufCase> kGgufCases = {
    {"NoModel", "tokenizer.ggml.model", [](GgufWriter&) {}, {"tokenizer.ggml.model", "missing"}},
    {"Scores",
     "tokenizer.ggml.model",
     [](GgufWriter& w) { w.string("tokenizer.ggml.model", "llama"); },
     {"tokenizer.ggml.model", "'llama'", "missing sentencepiece"}},
    {"WordPiece",
     "tokenizer.ggml.model",
     [](GgufWriter& w) { w.string("tokenizer.ggml.model", "bert"); },
     {"tokenizer.ggml.model", "'bert'", "missing"}},
    {"PreUnknown",
     "tokenizer.ggml.pre",
     [](GgufWriter& w) { w.string("tokenizer.ggml.pre", "bloom"); },
     {"tokenizer.ggml.pre", "'bloom'", "missing"}},
    {"TypesShort",
     "tokenizer.ggml.token_type",
     [](GgufWriter& w) {
       w.i32s("tokenizer.ggml.token_type", {1, 1});
     },
     {"tokenizer.ggml.token_type", "2 entries for 320 tokens"}},
    {"TypeUnknown",
     "tokenizer.ggml.token_type",
     [](GgufWriter& w) { w.i32s("tokenizer.ggml.token_type", std::vector<int32_t>(320, 7)); },
     {"tokenizer.ggml.token_type[0]", "7"}},
    {"TypeNegative",
     "tokenizer.ggml.token_type",
     [](GgufWriter& w) { w.i32s("tokenizer.ggml.token_type", std::vector<int32_t>(320, -1)); },
     {"tokenizer.ggml.token_type[0]", "-1"}},
    {"TokensNumbers",
     "tokenizer.ggml.tokens",
     [](GgufWriter& w) { w.i32s("tokenizer.ggml.tokens", {1}); },
     {"tokenizer.ggml.tokens", "an array of 1 I32"}},
    {"TokensTwice",
     "tokenizer.ggml.tokens",
     [](GgufWriter& w) { w.strings("tokenizer.ggml.tokens", std::vector<std::string>(320, "a")); },
     {"'a'", "token 2 already"}},
    {"MergeOfOne",
     "tokenizer.ggml.merges",
     [](GgufWriter& w) {
       w.strings("tokenizer.ggml.merges", {"e t", "abc"});
     },
     {"tokenizer.ggml.merges[1]", "'abc'"}},
    {"MergeEmpty",
     "tokenizer.ggml.merges",
     [](GgufWriter& w) { w.strings("tokenizer.ggml.merges", {""}); },
     {"tokenizer.ggml.merges[0]", "''"}},
    {"MergeUnknown",
     "tokenizer.ggml.merges",
     [](GgufWriter& w) { w.strings("tokenizer.ggml.merges", {"\xff q"}); },
     {"merge 0", "'\\xff'", "not in the vocabulary"}},
    {"BosBeyond",
     "tokenizer.ggml.bos_token_id",
     [](GgufWriter& w) { w.u32("tokenizer.ggml.bos_token_id", 320); },
     {"tokenizer.ggml.bos_token_id", "320"}},
    {"AddBosTwo",
     "tokenizer.ggml.add_bos_token",
     [](GgufWriter& w) { w.scalar("tokenizer.ggml.add_bos_token", 7, std::string(1, '\2')); },
     {"tokenizer.ggml.add_bos_token", "2"}},
    {"AddEos",
     "tokenizer.ggml.add_eos_token",
     [](GgufWriter& w) { w.boolean("tokenizer.ggml.add_eos_token", true); },
     {"tokenizer.ggml.add_eos_token", "missing"}},
};

class HostileGgufTokenizer : public testing::TestWithParam<GgufCase> {};

TEST_P(HostileGgufTokenizer, IsRefused) {
  const TempDir dir;
  GgufWriter writer = test::tiny_gguf_metadata(TinyModelSpec{});
  test::write_file(dir / kGguf, writer.file());
  ASSERT_NO_THROW(Tokenizer::open(dir / kGguf));
  writer.erase(GetParam().key);
  GetParam().add(writer);
  test::write_file(dir / kGguf, writer.file());
  std::vector<std::string> words = GetParam().words;
  words.push_back(kGguf);
  test::expect_refused([&] { Tokenizer::open(dir / kGguf); }, words);
}

INSTANTIATE_TEST_SUITE_P(All, HostileGgufTokenizer, testing::ValuesIn(kGgufCases),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HostileTokenizer, FolderWithoutOne) {
  const TempDir dir;
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"neither", "tokenizer.model", kJson});
  test::expect_refused([&] { Tokenizer::open(dir / "nothing.gguf"); },
                       {"nothing.gguf", "no such file"});
}

TEST(HostileTokenizer, SentencePieceFile) {
  const TempDir dir;
  test::write_file(dir / "tokenizer.model", "");
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"tokenizer.model", "0 bytes"});
  test::write_file(dir / "tokenizer.model", "not a protocol buffer");
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"tokenizer.model", "sentencepiece"});
}

TEST(HostileTokenizer, SpecialTokensOfTheFolder) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  test::write_file(dir / "tokenizer_config.json", R"({"bos_token":"<none>"})");
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"tokenizer_config.json", "bos_token", "<none>"});
  std::filesystem::remove(dir / "tokenizer_config.json");
  test::write_file(dir / "config.json", R"({"eos_token_id":320})");
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"config.json", "eos_token_id", "320"});
}

TEST(HostileText, NamesTheOffset) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  const auto tokenizer = Tokenizer::open(dir.path().string());
  for (const char* bad :
       {"\xff", "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3"}) {
    test::expect_refused([&] { tokenizer->encode(std::string("ab\xc3\xa9") + bad, false, false); },
                         {"byte 4", "UTF-8"});
  }
  test::expect_refused(
      [&] {
        tokenizer->decode(std::vector<int32_t>{5, 320});
      },
      {"token id 320", "320"});
  test::expect_refused([&] { tokenizer->decode(std::vector<int32_t>{-1}); }, {"token id -1"});
}

}  // namespace
}  // namespace kvx
