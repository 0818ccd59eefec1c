// The task `needle` as a whole. Prompts are compared with those of another program,
// tests/oracle/needle_prompts.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "eval/files.h"
#include "eval/tasks/needle.h"
#include "sim/api/error.h"
#include "tests/data.h"

namespace kvx::eval {
namespace {

// A token a byte.
class Bytes final : public model::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool add_bos, bool) const override {
    return std::vector<int32_t>(text.size() + (add_bos ? 1 : 0));
  }
  std::string decode(std::span<const int32_t>) const override { return {}; }
  std::string piece(int32_t id) const override { return {static_cast<char>(id)}; }
  int64_t vocab_size() const override { return 256; }
  bool adds_bos() const override { return true; }
  int32_t bos() const override { return 0; }
  int32_t eos() const override { return -1; }
  std::string kind() const override { return "bytes"; }
  std::string sha256() const override { return {}; }
};

NeedleSettings settings(std::vector<std::string> kinds, std::vector<int64_t> lengths,
                        std::vector<int> depths) {
  NeedleSettings out;
  out.kinds = std::move(kinds);
  out.lengths = std::move(lengths);
  out.depths = std::move(depths);
  out.haystack_path = KVX_DEMO_TEXT;
  out.haystack = read_file(KVX_DEMO_TEXT);
  out.seed = 5;
  return out;
}

const std::vector<std::string> kKinds{"single", "multikey4", "multivalue2", "multiquery3",
                                      "passkey"};

int64_t size_of(const Sample& sample, const model::Tokenizer& tokenizer) {
  return std::ssize(tokenizer.encode(sample.context + sample.question, true, false)) +
         sample.new_tokens;
}

void compare_with_oracle(const std::string& name, std::vector<int64_t> lengths,
                         const model::Tokenizer& tokenizer) {
  std::map<std::string, std::string> expected;
  std::ifstream file(KVX_NEEDLE_PROMPTS);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string subject, id, tokens, hash;
    words >> subject >> id >> tokens >> hash;
    if (subject == name) expected[id] = hash;
  }
  const auto task = make_needle(settings(kKinds, std::move(lengths), {0, 37, 100}), tokenizer);
  ASSERT_EQ(task->size(), 30);
  ASSERT_EQ(expected.size(), 30U);
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    EXPECT_EQ(sha256_hex(sample.context + sample.question), expected[task->id(i)])
        << task->id(i) << "\n"
        << sample.context << sample.question;
  }
}

TEST(Needle, MakesThePromptsOfAnotherProgram) {
  compare_with_oracle("bytes", {1500, 90000}, Bytes());
}

TEST(Needle, MakesThePromptsOfAnotherProgramWithSentencepiece) {
  KVX_NEED_DATA(path, "tokenizers/mistral-v1");
  compare_with_oracle("sentencepiece", {512, 2000}, *model::Tokenizer::open(path));
}

TEST(Needle, FillsTheLengthButForLessThanAWord) {
  const Bytes bytes;
  const auto task = make_needle(settings(kKinds, {1000, 3333}, {0, 50, 100}), bytes);
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    const int64_t length = std::stoll(sample.cell[1].second);
    EXPECT_LE(size_of(sample, bytes), length) << task->id(i);
    EXPECT_GT(size_of(sample, bytes), length - 20) << task->id(i);
  }
}

TEST(Needle, NeverExceedsTheLengthHoweverThePromptIsCutIntoTokens) {
  KVX_NEED_MODEL(path, "smollm2-135m.gguf");
  const auto tokenizer = model::Tokenizer::open(path);
  NeedleSettings wanted = settings(kKinds, {350, 1024}, {0, 25, 50, 75, 100});
  wanted.samples = 4;
  const auto task = make_needle(wanted, *tokenizer);
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    const int64_t length = std::stoll(sample.cell[1].second);
    const auto apart = std::ssize(tokenizer->encode(sample.context, true, false)) +
                       std::ssize(tokenizer->encode(sample.question, false, false));
    EXPECT_LE(size_of(sample, *tokenizer), length) << task->id(i);
    EXPECT_LE(apart + sample.new_tokens, length) << task->id(i);
    EXPECT_GE(size_of(sample, *tokenizer), length - 8) << task->id(i);
  }
}

TEST(Needle, SamplesAreFunctionsOfSeedAndCellAlone) {
  const Bytes bytes;
  NeedleSettings many = settings({"single", "multikey4"}, {900, 1200}, {0, 50});
  many.samples = 3;
  const auto task = make_needle(many, bytes);
  ASSERT_EQ(task->size(), 24);
  std::set<std::string> ids, prompts;
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    ids.insert(task->id(i));
    prompts.insert(sample.context + sample.question);
  }
  EXPECT_EQ(ids.size(), 24U);
  EXPECT_EQ(prompts.size(), 24U);
  // Kinds first, then lengths, depths, numbers: the second kind's second length, first depth.
  const Sample sample = task->sample(12 + 6 + 2);
  EXPECT_EQ(task->id(12 + 6 + 2), "multikey4-1200-0-2");
  const std::vector<std::pair<std::string, std::string>> cell{
      {"kind", "multikey4"}, {"length", "1200"}, {"depth", "0"}};
  EXPECT_EQ(sample.cell, cell);
  NeedleSettings few = settings({"multikey4"}, {1200}, {0});
  few.samples = 9;
  const auto alone = make_needle(few, bytes);
  EXPECT_EQ(alone->id(2), task->id(12 + 6 + 2));
  EXPECT_EQ(alone->sample(2).context, sample.context);
  EXPECT_EQ(alone->sample(2).question, sample.question);
  EXPECT_EQ(alone->sample(2).expected, sample.expected);
  few.seed = 6;
  EXPECT_NE(make_needle(few, bytes)->sample(2).context, sample.context);
}

TEST(Needle, ExpectsWhatIsHiddenOnce) {
  const Bytes bytes;
  const auto task = make_needle(
      settings({"single", "multikey16", "multivalue16", "multiquery16"}, {6000}, {50}), bytes);
  const std::vector<size_t> answers{1, 1, 16, 16};
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    EXPECT_EQ(sample.new_tokens, 128);
    EXPECT_EQ(sample.stops, std::vector<std::string>{"\n"});
    ASSERT_EQ(sample.expected.size(), answers[static_cast<size_t>(i)]) << task->id(i);
    EXPECT_EQ(std::set<std::string>(sample.expected.begin(), sample.expected.end()).size(),
              sample.expected.size());
    for (const std::string& value : sample.expected) {
      EXPECT_EQ(value.size(), 7U);
      const size_t at = sample.context.find(" is: " + value + ".");
      ASSERT_NE(at, std::string::npos) << task->id(i);
      EXPECT_EQ(sample.context.find(value, at + 12), std::string::npos);
      // Its key is one that the question names.
      const size_t key = sample.context.rfind("numbers for ", at) + 12;
      EXPECT_NE(sample.question.find(sample.context.substr(key, at - key)), std::string::npos);
    }
  }
  const Sample passkey = make_needle(settings({"passkey"}, {900}, {50}), bytes)->sample(0);
  EXPECT_EQ(passkey.new_tokens, 10);
  EXPECT_NE(passkey.context.find("The pass key is " + passkey.expected.at(0) + ". Remember it."),
            std::string::npos);
}

TEST(Needle, JudgesByKind) {
  const Bytes bytes;
  const auto task = make_needle(settings({"multivalue2", "passkey"}, {1500}, {50}), bytes);
  const Sample values = task->sample(0);
  const auto both =
      task->judge(values, " " + values.expected[1] + " and " + values.expected[0] + ".");
  ASSERT_EQ(both.size(), 1U);
  EXPECT_EQ(both[0].filter, "match");
  EXPECT_EQ(both[0].extracted, values.expected[0] + ", " + values.expected[1]);
  EXPECT_EQ(both[0].score, 1);
  EXPECT_EQ(task->judge(values, values.expected[1])[0].score, 0.5);
  const Sample passkey = task->sample(1);
  EXPECT_EQ(task->judge(passkey, " 0" + passkey.expected[0] + ".")[0].score, 1);
  EXPECT_EQ(task->judge(passkey, " 1 " + passkey.expected[0])[0].score, 0);
}

TEST(Needle, IdentityNamesWhatDecides) {
  const Bytes bytes;
  NeedleSettings some = settings({"single"}, {1500}, {0, 100});
  const Json identity = make_needle(some, bytes)->identity();
  EXPECT_EQ(identity.dump(), R"({"seed":5,"bos":true,"shape":"ruler-shaped","haystack_sha256":")" +
                                 sha256_hex(some.haystack) + R"(","words_sha256":")" +
                                 some.words.sha256() + "\"}");
  EXPECT_EQ(make_needle(some, bytes)->selection().dump(),
            R"({"kinds":["single"],"lengths":[1500],"depths":[0,100],"samples":1})");
  some.haystack += " More.";
  EXPECT_NE(make_needle(some, bytes)->identity(), identity);
  some.kinds = {"passkey"};
  some.haystack.clear();
  for (const char* field : {"shape", "haystack_sha256", "words_sha256"})
    EXPECT_TRUE(make_needle(some, bytes)->identity().at(field).is_null()) << field;
}

void expect_usage(const NeedleSettings& wrong, const std::string& words) {
  try {
    make_needle(wrong, Bytes());
    ADD_FAILURE() << "accepted: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kUsage);
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Needle, RefusesSettings) {
  const auto with = [](std::vector<std::string> kinds, std::vector<int64_t> lengths,
                       std::vector<int> depths) {
    return settings(std::move(kinds), std::move(lengths), std::move(depths));
  };
  for (const char* kind : {"", "multikey", "multikey1", "multikey17", "multikey04", "multikey4x",
                           "single2", "passkey2", "Single"})
    expect_usage(with({kind}, {900}, {0}), "kind of needle '" + std::string(kind) + "'");
  expect_usage(with({}, {900}, {0}), "no kinds");
  expect_usage(with({"single"}, {}, {0}), "no lengths");
  expect_usage(with({"single"}, {900}, {}), "no depths");
  expect_usage(with({"single", "single"}, {900}, {0}), "single twice");
  expect_usage(with({"single"}, {900, 900}, {0}), "900 twice");
  expect_usage(with({"single"}, {900}, {-1}), "depth -1");
  expect_usage(with({"single"}, {900}, {101}), "depth 101");
  expect_usage(with({"single"}, {0}, {0}), "length 0");
  expect_usage(with({"single"}, {int64_t{1} << 40}, {0}), "length 1099511627776");
  // 131 bytes of task, 160 of question with its key, 128 new: more than 400 with the needle.
  expect_usage(with({"passkey", "single"}, {900, 400}, {0}), "single-400-0-0 takes");
  expect_usage(with({"multiquery16"}, {900}, {0}), "multiquery16-900-0-0 takes");
  expect_usage(with({"passkey"}, {200}, {0}), "passkey-200-0-0 takes");
  NeedleSettings none = with({"single"}, {900}, {0});
  none.samples = 0;
  expect_usage(none, "samples 0");
  NeedleSettings few = with({"multikey4"}, {1500}, {0});
  few.words = {{"red", "blue"}, {"house"}};
  expect_usage(few, "needs 4 keys, the words make 2");
  few.kinds = {"multivalue4"};
  few.words = {{"red"}, {"house"}};
  EXPECT_EQ(make_needle(few, Bytes())->sample(0).expected.size(), 4U);
}

}  // namespace
}  // namespace kvx::eval
