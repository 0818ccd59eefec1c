// Tokenizer files that are broken or lie: each is refused with the file, the field and the value.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/gen/random.h"
#include "sim/model/tokenizer.h"
#include "tests/support/expect_refused.h"
#include "tests/support/text_lines.h"
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

std::string f32s(const std::vector<float>& values) {
  std::string bytes = test::le_bytes<uint32_t>(6) + test::le_bytes<uint64_t>(values.size());
  for (const float value : values) bytes += test::le_bytes(value);
  return bytes;
}

struct JsonCase {
  const char* name;
  std::function<void(json&)> spoil;
  std::vector<std::string> words;
};

std::ostream& operator<<(std::ostream& out, const JsonCase& c) { return out << c.name; }

const json kByteLevel = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};

std::function<void(json&)> split_by(const std::string& regex) {
  return [regex](json& t) {
    const json split = {
        {"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", regex}}}};
    t["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, kByteLevel}}};
  };
}

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
    {"AddedFlag",
     [](json& t) { t["added_tokens"][0]["lstrip"] = 1; },
     {"added_tokens.lstrip", "1"}},
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
       t["normalizer"] = {{"type", "Lowercase"}};
     },
     {"normalizer 'Lowercase'", "not supported"}},
    {"NormalizerInSequence",
     [](json& t) {
       t["normalizer"] = {{"type", "Sequence"},
                          {"normalizers", {{{"type", "NFC"}}, {{"type", "Replace"}}}}};
     },
     {"normalizer 'Replace'", "not supported"}},
    {"NormalizersMissing",
     [](json& t) {
       t["normalizer"] = {{"type", "Sequence"}};
     },
     {"normalizer.normalizers", "missing"}},
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
    {"PatternBroken", split_by("(a"), {"'(a'", "does not compile"}},
    {"PatternHalvesCharacters", split_by("\\C"), {"'\\C'", "does not compile"}},
    {"PatternTooLarge", split_by("(a{65000}){65000}"), {"'(a{65000}", "does not compile"}},
    {"PatternOfWords", split_by("\\w+"), {"'\\w+'", "not supported"}},
    {"PatternOfClasses", split_by("[a-z&&[^b]]"), {"&&", "not supported"}},
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

TEST(HostileTokenizer, PatternThatBacktracksWithoutEnd) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  json tokenizer = json::parse(test::read_file(dir / kJson));
  split_by("(a+)+$")(tokenizer);
  test::write_file(dir / kJson, tokenizer.dump());
  const auto opened = Tokenizer::open(dir.path().string());
  test::expect_refused([&] { opened->encode(std::string(5000, 'a') + "b", false, false); },
                       {kJson, "split pattern fails", "limit"});
}

TEST(HostileTokenizer, KeyTwice) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  std::string text = test::read_file(dir / kJson);
  const size_t at = text.find("\"vocab\":{") + 9;
  text.insert(at, "\"e\":5,");
  test::write_file(dir / kJson, text);
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); }, {kJson, "'e'", "twice"});
}

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
     {"tokenizer.ggml.scores", "missing"}},
    {"AddedNotUtf8",
     "tokenizer.ggml.tokens",
     [](GgufWriter& w) {
       std::vector<std::string> tokens(320);
       for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = std::to_string(i);
       tokens[0] = "\x80";
       w.strings("tokenizer.ggml.tokens", tokens);
     },
     {"tokenizer.ggml.tokens[0]", "'\\x80'", "not UTF-8"}},
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

// A GGUF file of sentencepiece's kind: <unk>, <s>, "a", and what `change` makes of it.
void expect_pieces_refused(const std::function<void(GgufWriter&)>& change,
                           std::vector<std::string> words) {
  const TempDir dir;
  GgufWriter writer;
  writer.string("general.architecture", "llama")
      .string("tokenizer.ggml.model", "llama")
      .strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "a"})
      .scalar("tokenizer.ggml.scores", 9, f32s({0, 0, -1}))
      .i32s("tokenizer.ggml.token_type", {2, 3, 1});
  test::write_file(dir / kGguf, writer.file());
  ASSERT_EQ(Tokenizer::open(dir / kGguf)->encode("a", true, false).back(), 2);
  change(writer);
  test::write_file(dir / kGguf, writer.file());
  words.push_back(kGguf);
  test::expect_refused([&] { Tokenizer::open(dir / kGguf); }, words);
}

TEST(HostileTokenizer, PiecesOfGguf) {
  const auto tokens = [](std::vector<std::string> texts) {
    return [texts](GgufWriter& w) {
      w.erase("tokenizer.ggml.tokens").strings("tokenizer.ggml.tokens", texts);
    };
  };
  const auto scores = [](uint32_t type, const std::string& bytes) {
    return [type, bytes](GgufWriter& w) {
      w.erase("tokenizer.ggml.scores").scalar("tokenizer.ggml.scores", type, bytes);
    };
  };
  const auto types = [](std::vector<int32_t> values) {
    return [values](GgufWriter& w) {
      w.erase("tokenizer.ggml.token_type").i32s("tokenizer.ggml.token_type", values);
    };
  };
  expect_pieces_refused(tokens({"<unk>", "<s>", ""}), {"tokenizer.ggml.tokens[2]", "''"});
  expect_pieces_refused(tokens({"<unk>", "<s>", "\xff"}), {"tokenizer.ggml.tokens[2]", "'\\xff'"});
  expect_pieces_refused(
      [&](GgufWriter& w) {
        tokens({"<unk>", "b", "b"})(w);
        types({2, 1, 1})(w);
      },
      {"sentencepiece", "b"});
  expect_pieces_refused(tokens({"<unk>", "<s>"}), {"token_type", "3 entries for 2"});
  expect_pieces_refused(scores(9, f32s({0, 0})), {"scores", "array of 3 F32"});
  expect_pieces_refused(scores(6, test::le_bytes(1.0F)), {"scores", "array of 3 F32"});
  expect_pieces_refused(scores(9, f32s({0, 0, NAN})), {"score of piece 2", "not finite"});
  expect_pieces_refused(scores(9, f32s({0, 0, -INFINITY})), {"score of piece 2", "not finite"});
  expect_pieces_refused(types({3, 3, 1}), {"sentencepiece"});       // no <unk>
  expect_pieces_refused(types({2, 2, 1}), {"sentencepiece"});       // two
  expect_pieces_refused(types({2, 3, 6}), {"sentencepiece", "a"});  // a byte piece of no byte
  expect_pieces_refused([](GgufWriter& w) { w.u32("tokenizer.ggml.bos_token_id", 3); },
                        {"bos_token_id", "3"});
  expect_pieces_refused([](GgufWriter& w) { w.string("tokenizer.ggml.precompiled_charsmap", "x"); },
                        {"precompiled_charsmap", "not supported"});
}

// A model with a normalisation table: uint32 size of a double array, the array, texts.
std::string with_charsmap(const std::vector<uint32_t>& units, const std::string& texts,
                          uint32_t size) {
  std::string blob = test::le_bytes(size);
  for (const uint32_t unit : units) blob += test::le_bytes(unit);
  blob += texts;
  const auto field = [](char tag, const std::string& bytes) {
    std::string out(1, tag);
    size_t n = bytes.size();
    for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
    return out + static_cast<char>(n) + bytes;
  };
  const std::string pieces = field(10, field(10, "<unk>") + "\x18\x02") + field(10, field(10, "a"));
  return pieces + field(26, field(18, blob));
}

TEST(HostileTokenizer, NormalisationTables) {
  const TempDir dir;
  const auto write = [&](const std::string& model) {
    test::write_file(dir / "tokenizer.model", model);
  };
  const auto refused = [&](const std::string& model) {
    write(model);
    test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                         {"tokenizer.model", "precompiled_charsmap"});
  };
  // The root's states are 256 + byte; 'b' there has a leaf at 512, whose text is the one at 0.
  const auto table = [](uint32_t offset, uint32_t leaf_offset, uint32_t value) {
    std::vector<uint32_t> units(1024);
    units[0] = offset << 10;
    units[256 ^ 'b'] = (256U ^ 'b' ^ leaf_offset) << 10 | 0x100 | 'b';
    units[512] = 0x80000000 | value;
    return units;
  };
  write(with_charsmap(table(256, 512, 0), std::string("a\0", 2), 4096));
  const auto good = Tokenizer::open(dir.path().string());
  EXPECT_EQ(good->encode("b", false, false), good->encode("a", false, false));
  EXPECT_NE(good->encode("c", false, false), good->encode("a", false, false));
  refused(with_charsmap(table(1024, 512, 0), std::string("a\0", 2), 4096));      // states beyond
  refused(with_charsmap(table(256, 2048, 0), std::string("a\0", 2), 4096));      // leaf beyond
  refused(with_charsmap(table(256, 512, 2), std::string("a\0", 2), 4096));       // text beyond
  refused(with_charsmap(table(256, 512, 1), std::string("\u00e9\0", 3), 4096));  // half a character
  refused(with_charsmap(table(256, 512, 0), "a", 4096));                         // no end
  refused(with_charsmap(table(256, 512, 0), std::string("\xff\0", 2), 4096));    // not UTF-8
  refused(with_charsmap(table(256, 512, 0), std::string("a\0", 2), 4094));       // no array
  refused(with_charsmap(table(256, 512, 0), std::string("a\0", 2), 5000));       // beyond the table
  refused(with_charsmap({}, "a", 0));
  const std::string whole = with_charsmap(table(256, 512, 0), std::string("a\0", 2), 4096);
  for (size_t size = 1; size < whole.size(); size += 97) {
    write(whole.substr(0, size));
    test::expect_refused([&] { Tokenizer::open(dir.path().string()); }, {"tokenizer.model"});
  }
}

// Bytes changed at random: the file is refused, or what was opened encodes and decodes.
TEST(HostileTokenizer, ChangedBytes) {
  for (const char* name : {"sentencepiece-bpe/tokenizer.model",
                           "sentencepiece-unigram/tokenizer.model", "added-form/tokenizer.json"}) {
    const std::string whole = test::read_file(std::string(KVX_TOKENIZERS "/") + name);
    const TempDir dir;
    int opened = 0;
    for (uint64_t run = 0; run < 200; ++run) {
      const gen::Source random{run, 0, 0};
      std::string changed = whole;
      for (uint64_t i = 0; i < 1 + run % 4; ++i) {
        const gen::Words words = random.words(i);
        changed[words[0] % changed.size()] = static_cast<char>(words[1]);
      }
      test::write_file(dir.path() / std::filesystem::path(name).filename(), changed);
      try {
        const auto tokenizer = Tokenizer::open(dir.path().string());
        ++opened;
        for (int64_t line = 0; line < 20; ++line)
          tokenizer->decode(tokenizer->encode(test::text_line(run, line), true, true));
        for (int32_t id = 0; id < tokenizer->vocab_size(); ++id)
          tokenizer->decode(std::vector<int32_t>{id});
      } catch (const Error& error) {
        EXPECT_EQ(error.exit(), Exit::kEnvironment) << error.what();
      }
    }
    EXPECT_GT(opened, 0) << name;
    EXPECT_LT(opened, 200) << name;
  }
}

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
  for (const char* text : {"not a protocol buffer", "\x0a\x02\x0a"}) {
    test::write_file(dir / "tokenizer.model", text);
    test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                         {"tokenizer.model", "sentencepiece"});
  }
}

TEST(HostileTokenizer, SpecialTokensOfTheFolder) {
  const TempDir dir;
  test::write_tiny_model(dir.path(), TinyModelSpec{});
  test::write_file(dir / "tokenizer_config.json", R"({"bos_token":"<none>"})");
  test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                       {"tokenizer_config.json", "bos_token", "<none>"});
  for (const auto& [field, text] :
       {std::pair("add_eos_token", "true"), std::pair("add_bos_token", "1")}) {
    test::write_file(dir / "tokenizer_config.json",
                     std::string("{\"") + field + "\":" + text + "}");
    test::expect_refused([&] { Tokenizer::open(dir.path().string()); },
                         {"tokenizer_config.json", field, text});
  }
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
