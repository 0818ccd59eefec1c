// Token ids of the generated lines and of WikiText-2 against upstream's: tests/oracle/token_ids.txt
// holds hashes of what `tokenizers` and `sentencepiece` gave (token_ids.py).
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "sim/model/checkpoint/sha256.h"
#include "sim/model/tokenizer.h"
#include "sim/model/tokenizer/nfc.h"
#include "tests/data.h"
#include "tests/support/model_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_lines.h"

namespace kvx {
namespace {

using model::Tokenizer;
using nlohmann::json;
using test::GgufWriter;
using test::TempDir;
using Lines = std::vector<std::string>;

constexpr size_t kBlock = 500;

const Lines& lines() {
  static const Lines all = test::text_lines();
  return all;
}

// Block's name and the lines in it.
std::vector<std::pair<std::string, std::span<const std::string>>> blocks() {
  std::vector<std::pair<std::string, std::span<const std::string>>> out;
  const std::span<const std::string> all(lines());
  for (size_t at = 0; at < test::kTextLines; at += kBlock)
    out.emplace_back(std::to_string(at / kBlock), all.subspan(at, kBlock));
  out.emplace_back("long", all.subspan(test::kTextLines));
  return out;
}

struct Stored {
  size_t count = 0;
  std::string sha256;
  bool operator==(const Stored&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Stored& stored) {
  return out << stored.count << " ids, " << stored.sha256;
}

// Upstream's, by "family mode block".
const std::map<std::string, Stored>& upstream() {
  static const std::map<std::string, Stored> all = [] {
    std::map<std::string, Stored> out;
    std::ifstream file(KVX_TOKEN_IDS);
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with('#')) continue;
      std::istringstream words(line);
      std::string family, mode, block;
      Stored stored;
      words >> family >> mode >> block >> stored.count >> stored.sha256;
      out[family + " " + mode + " " + block] = stored;
    }
    return out;
  }();
  return all;
}

// SHA-256 of the ids, -1 after each line.
Stored hash_ids(const Tokenizer& tokenizer, std::span<const std::string> text, bool special) {
  Stored out;
  model::Sha256 hash;
  for (const std::string& line : text) {
    std::vector<int32_t> ids = tokenizer.encode(line, true, special);
    out.count += ids.size();
    ids.push_back(-1);
    hash.update(std::as_bytes(std::span(ids)));
  }
  out.sha256 = hash.hex();
  return out;
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

void expect_upstream_lines(const Tokenizer& tokenizer, const std::string& family,
                           const std::string& mode) {
  for (const auto& [block, text] : blocks()) {
    const auto want = upstream().find(family + " " + mode + " " + block);
    ASSERT_NE(want, upstream().end()) << family << " " << mode << " " << block;
    EXPECT_EQ(hash_ids(tokenizer, text, mode == "special"), want->second)
        << family << " " << mode << ": lines of block " << block;
  }
}

void expect_upstream_wikitext(const Tokenizer& tokenizer, const std::string& family,
                              const std::string& mode) {
  KVX_NEED_DATA(raw, "wikitext2/wiki.test.raw");
  const Lines text = {gptq_text(test::read_file(raw))};
  EXPECT_EQ(hash_ids(tokenizer, text, mode == "special"),
            upstream().at(family + " " + mode + " wikitext-2"));
}

TEST(TextLines, AreThoseThatUpstreamSaw) {
  ASSERT_GE(lines().size(), 10000u);
  for (const auto& [block, text] : blocks()) {
    Stored got;
    model::Sha256 hash;
    for (const std::string& line : text) {
      got.count += line.size();
      hash.update(line + "\xff");
    }
    got.sha256 = hash.hex();
    EXPECT_EQ(got, upstream().at("lines text " + block)) << "block " << block;
  }
  EXPECT_EQ(test::text_line(test::kTextSeed, 7777), lines()[7777]);
}

struct Family {
  const char* name;
  const char* variable;  // of the environment; nullptr: in tests/inputs/tokenizers
  const char* path;
  std::vector<std::string> modes;
};

std::ostream& operator<<(std::ostream& out, const Family& family) { return out << family.name; }

const std::vector<Family> kFamilies = {
    {"smollm2", "KVX_MODELS", "smollm2-135m.gguf", {"plain", "special"}},
    {"qwen2.5-coder-0.5b", "KVX_MODELS", "qwen2.5-coder-0.5b.gguf", {"plain", "special"}},
    {"mistral-v1", "KVX_DATA", "tokenizers/mistral-v1", {"plain"}},
    {"stories260K", "KVX_DATA", "models/stories260K/hf", {"plain"}},
    {"llama3-form", nullptr, "llama3-form", {"plain", "special"}},
    {"qwen2-form", nullptr, "qwen2-form", {"plain", "special"}},
    {"added-form", nullptr, "added-form", {"plain", "special"}},
    {"sentencepiece-bpe", nullptr, "sentencepiece-bpe", {"plain"}},
    {"sentencepiece-unigram", nullptr, "sentencepiece-unigram", {"plain"}},
};

class UpstreamIds : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    const Family& family = GetParam();
    path_ = family.variable == nullptr ? std::string(KVX_TOKENIZERS "/") + family.path
                                       : test::data_path(family.variable, family.path);
    if (path_.empty()) {
      GTEST_SKIP() << "needs " << family.path << " under the folder named by " << family.variable;
    }
  }
  std::string path_;
};

TEST_P(UpstreamIds, OfGeneratedLines) {
  const auto tokenizer = Tokenizer::open(path_);
  for (const std::string& mode : GetParam().modes)
    expect_upstream_lines(*tokenizer, GetParam().name, mode);
}

TEST_P(UpstreamIds, OfWikiText2) {
  const auto tokenizer = Tokenizer::open(path_);
  for (const std::string& mode : GetParam().modes)
    expect_upstream_wikitext(*tokenizer, GetParam().name, mode);
}

INSTANTIATE_TEST_SUITE_P(All, UpstreamIds, testing::ValuesIn(kFamilies), [](const auto& param) {
  std::string name = param.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
});

TEST(Decode, IsTheInverse) {
  const auto llama3 = Tokenizer::open(KVX_TOKENIZERS "/llama3-form");
  const auto qwen2 = Tokenizer::open(KVX_TOKENIZERS "/qwen2-form");
  for (const std::string& line : lines()) {
    ASSERT_EQ(llama3->decode(llama3->encode(line, false, true)), line);
    ASSERT_EQ(qwen2->decode(qwen2->encode(line, false, false)), model::to_nfc(line).value_or(line));
  }
}

// The same vocabulary as GGUF metadata.

std::string f32s(const std::vector<float>& values) {
  std::string bytes = test::le_bytes<uint32_t>(6) + test::le_bytes<uint64_t>(values.size());
  for (const float value : values) bytes += test::le_bytes(value);
  return bytes;
}

GgufWriter gguf_of_json(const std::string& name, const std::string& pre) {
  const json file = json::parse(test::read_file(KVX_TOKENIZERS "/" + name + "/tokenizer.json"));
  std::map<int32_t, std::pair<std::string, int32_t>> tokens;  // text and type by id
  for (const auto& [token, id] : file["model"]["vocab"].items())
    tokens[id.get<int32_t>()] = {token, 1};
  for (const json& added : file["added_tokens"]) {
    tokens[added["id"].get<int32_t>()] = {added["content"].get<std::string>(),
                                          added["special"].get<bool>() ? 3 : 4};
  }
  std::vector<std::string> texts, merges;
  std::vector<int32_t> types;
  for (const auto& [id, token] : tokens) {
    texts.push_back(token.first);
    types.push_back(token.second);
  }
  for (const json& merge : file["model"]["merges"])
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  GgufWriter writer;
  writer.string("general.architecture", "llama")
      .string("tokenizer.ggml.model", "gpt2")
      .string("tokenizer.ggml.pre", pre)
      .strings("tokenizer.ggml.tokens", texts)
      .i32s("tokenizer.ggml.token_type", types)
      .strings("tokenizer.ggml.merges", merges);
  return writer;
}

TEST(GgufIds, Llama3) {
  const TempDir dir;
  for (const char* pre : {"llama-bpe", "llama3", "llama-v3"}) {
    GgufWriter writer = gguf_of_json("llama3-form", pre);
    const auto folder = Tokenizer::open(KVX_TOKENIZERS "/llama3-form");
    writer.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(folder->bos()));
    test::write_file(dir / "a.gguf", writer.file());
    const auto gguf = Tokenizer::open(dir / "a.gguf");
    EXPECT_TRUE(gguf->adds_bos()) << "without add_bos_token in the file";
    expect_upstream_lines(*gguf, "llama3-form", "special");
    writer.boolean("tokenizer.ggml.add_bos_token", false);
    test::write_file(dir / "a.gguf", writer.file());
    EXPECT_FALSE(Tokenizer::open(dir / "a.gguf")->adds_bos());
  }
}

TEST(GgufIds, Qwen2) {
  const TempDir dir;
  test::write_file(dir / "a.gguf", gguf_of_json("qwen2-form", "qwen2").file());
  const auto gguf = Tokenizer::open(dir / "a.gguf");
  EXPECT_FALSE(gguf->adds_bos());
  expect_upstream_lines(*gguf, "qwen2-form", "special");
  expect_upstream_lines(*gguf, "qwen2-form", "plain");
}

// A sentencepiece model's pieces as llama.cpp's conversion writes them.
GgufWriter gguf_of_sentencepiece(const std::string& path) {
  sentencepiece::SentencePieceProcessor model;
  EXPECT_TRUE(model.Load(path).ok());
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    texts.push_back(model.IdToPiece(id));
    scores.push_back(model.GetScore(id));
    types.push_back(model.IsUnknown(id)   ? 2
                    : model.IsControl(id) ? 3
                    : model.IsUnused(id)  ? 5
                    : model.IsByte(id)    ? 6
                                          : 1);
  }
  GgufWriter writer;
  writer.string("general.architecture", "llama")
      .string("tokenizer.ggml.model", "llama")
      .string("tokenizer.ggml.pre", "default")
      .strings("tokenizer.ggml.tokens", texts)
      .scalar("tokenizer.ggml.scores", 9, f32s(scores))
      .i32s("tokenizer.ggml.token_type", types)
      .u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(model.bos_id()))
      .u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(model.eos_id()));
  return writer;
}

void expect_gguf_of_sentencepiece(const std::string& folder, const std::string& family,
                                  bool remove_extra_whitespaces) {
  const TempDir dir;
  GgufWriter writer = gguf_of_sentencepiece(folder + "/tokenizer.model");
  if (remove_extra_whitespaces) writer.boolean("tokenizer.ggml.remove_extra_whitespaces", true);
  test::write_file(dir / "a.gguf", writer.file());
  const auto gguf = Tokenizer::open(dir / "a.gguf");
  EXPECT_TRUE(gguf->adds_bos());
  EXPECT_EQ(gguf->kind(), "sentencepiece");
  expect_upstream_lines(*gguf, family, "plain");
  const std::string text = "The end.</s><s> 1984";
  const auto original = Tokenizer::open(folder);
  EXPECT_EQ(gguf->encode(text, true, true), original->encode(text, true, true));
  EXPECT_EQ(gguf->decode(gguf->encode(text, false, true)),
            original->decode(original->encode(text, false, true)));
  EXPECT_EQ(gguf->eos(), original->eos());
  EXPECT_EQ(gguf->vocab_size(), original->vocab_size());
}

TEST(GgufIds, Mistral) {
  KVX_NEED_DATA(folder, "tokenizers/mistral-v1");
  expect_gguf_of_sentencepiece(folder, "mistral-v1", false);
}

TEST(GgufIds, Stories260K) {
  KVX_NEED_DATA(folder, "models/stories260K/hf");
  expect_gguf_of_sentencepiece(folder, "stories260K", true);
}

}  // namespace
}  // namespace kvx
