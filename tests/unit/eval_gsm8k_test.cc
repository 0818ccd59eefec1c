#include <gtest/gtest.h>

#include <regex>
#include <tuple>

#include "eval/files.h"
#include "eval/tasks/gsm8k.h"
#include "eval/tasks/gsm8k_form.h"
#include "sim/model/tokenizer.h"
#include "tests/data.h"
#include "tests/support/expect_refused.h"
#include "tests/support/temp_dir.h"

namespace kvx::eval {
namespace {

TEST(Gsm8k, PromptsAreThoseOfTheHarness) {
  KVX_NEED_DATA(test, "gsm8k/test.jsonl");
  KVX_NEED_DATA(train, "gsm8k/train.jsonl");
  const auto task = make_gsm8k({.test_path = test, .train_path = train});
  ASSERT_EQ(task->size(), 1319);
  const auto prompt = [&](int64_t index) {
    const Sample sample = task->sample(index);
    return sample.context + sample.question;
  };
  const std::vector<std::tuple<int64_t, size_t, std::string>> published{
      {0, 3189, "32680f263ba83280e98a8a24ceefed10a722a4cdcd9f4d78e93c45d43143ca66"},
      {1, 3321, "e6b9a0195411932e5323ed20ad05e965b08b979103bbb26594a5bdf123d27990"},
      {2, 3257, "97eb2662b11bbd7bd0423f898efde0e9a04d22028ed5fc1f80576965b0f570fa"},
      {1318, 0, "c9c63955e0cf2185cb505fbc69b80561f7bad5c30a5daee94cc851b31107f4cb"}};
  for (const auto& [index, bytes, sha256] : published) {
    EXPECT_EQ(sha256_hex(prompt(index)), sha256) << index;
    if (bytes > 0) {
      EXPECT_EQ(prompt(index).size(), bytes) << index;
    }
  }
}

// Of the same harness, with a BOS.
TEST(Gsm8k, PromptsHaveTheTokensOfTheHarness) {
  KVX_NEED_DATA(test, "gsm8k/test.jsonl");
  KVX_NEED_DATA(train, "gsm8k/train.jsonl");
  KVX_NEED_DATA(tokenizer_path, "tokenizers/mistral-v1");
  const auto tokenizer = model::Tokenizer::open(tokenizer_path);
  const auto task = make_gsm8k({.test_path = test, .train_path = train});
  for (const auto& [index, tokens] :
       std::vector<std::pair<int64_t, size_t>>{{0, 1129}, {1, 1109}, {2, 1193}}) {
    const Sample sample = task->sample(index);
    EXPECT_EQ(tokenizer->encode(sample.context + sample.question, true, false).size(), tokens)
        << index;
  }
}

struct AllPrompts {
  int64_t shots;
  size_t bytes;
  std::string sha256;
};

class Gsm8kPrompts : public testing::TestWithParam<AllPrompts> {};

TEST_P(Gsm8kPrompts, OfAllItemsAreThoseOfTheHarness) {
  KVX_NEED_DATA(test, "gsm8k/test.jsonl");
  KVX_NEED_DATA(train, "gsm8k/train.jsonl");
  const auto task = make_gsm8k({.test_path = test, .train_path = train, .shots = GetParam().shots});
  size_t bytes = 0;
  for (int64_t i = 0; i < task->size(); ++i)
    bytes += task->sample(i).context.size() + task->sample(i).question.size();
  EXPECT_EQ(bytes, GetParam().bytes);
  EXPECT_EQ(prompts_sha256(*task), GetParam().sha256);
}

INSTANTIATE_TEST_SUITE_P(
    Shots, Gsm8kPrompts,
    testing::Values(
        AllPrompts{4, 3202175, "5e50e25790787584f86b282951399ce4721a507194028d8ac46cc4244f8da449"},
        AllPrompts{5, 3916470, "fe55992daa961797e918bae55b1fec70d674ace3e0b1a538d04d52564cb271af"},
        AllPrompts{8, 6075976, "8c288fbc962eb9f49f0d7e234395a72c89e93bf3c37ae39415213e4ab0c6096a"},
        AllPrompts{16, 11793110,
                   "9535b6588254ae44b6b5087160f718e2222e98b89a3251dba3d89f206e1a30d9"}),
    [](const auto& shots) { return std::to_string(shots.param.shots); });

TEST(Gsm8k, WithoutShotsNeedsNoTrainingFile) {
  KVX_NEED_DATA(test, "gsm8k/test.jsonl");
  const auto task = make_gsm8k({.test_path = test, .shots = 0});
  const Sample first = task->sample(0);
  EXPECT_EQ(first.context, "");
  EXPECT_EQ(first.question.size(), 300u);
  EXPECT_EQ(sha256_hex(first.question),
            "b7d0342d147aa332159a8ac1e335932b8a27a7aca3a758b41efa721c5bf4984a");
}

TEST(Gsm8k, EveryGoldAnswersItselfUnderBothFilters) {
  KVX_NEED_DATA(test, "gsm8k/test.jsonl");
  const auto task = make_gsm8k({.test_path = test, .shots = 0});
  const std::regex number("-?[0-9.]+");
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    ASSERT_TRUE(std::regex_match(sample.expected.at(0), number)) << sample.expected.at(0);
    for (const Reading& reading : task->judge(sample, "so #### " + sample.expected[0] + "."))
      EXPECT_EQ(reading.score, 1) << i << reading.extracted;
  }
}

// Files of one's own: a few rows, good or bad.
class Gsm8kFiles : public testing::Test {
 protected:
  static std::string row(const std::string& question, const std::string& answer) {
    return Json{{"question", question}, {"answer", answer}}.dump() + "\n";
  }
  Gsm8kSettings settings(const std::string& test, const std::string& train) {
    test::write_file(folder_ / "test.jsonl", test);
    test::write_file(folder_ / "train.jsonl", train);
    return {.test_path = folder_ / "test.jsonl", .train_path = folder_ / "train.jsonl", .shots = 2};
  }
  void refused(const std::string& test, const std::string& train,
               const std::vector<std::string>& words) {
    const Gsm8kSettings bad = settings(test, train);
    test::expect_refused([&] { make_gsm8k(bad); }, words);
  }

  test::TempDir folder_;
  std::string good_ = row("Q1", "A1\n#### 1") + row("Q2", "A2\n#### 2");
};

// random.Random(1234).sample(range(2), 2), four times, by CPython: 1 0, 0 1, 0 1, 0 1.
TEST_F(Gsm8kFiles, ShotsAreDrawnAnewForEveryItem) {
  const auto task = make_gsm8k(settings(good_ + good_, good_));
  const std::string one = "Question: Q1\nAnswer: A1\n#### 1\n\n";
  const std::string two = "Question: Q2\nAnswer: A2\n#### 2\n\n";
  EXPECT_EQ(task->sample(0).context, two + one);
  EXPECT_EQ(task->sample(1).context, one + two);
  EXPECT_EQ(task->sample(2).context, one + two);
  EXPECT_EQ(task->sample(3).context, one + two);
  EXPECT_EQ(task->sample(1).question, "Question: Q2\nAnswer:");
  EXPECT_EQ(task->sample(1).expected, std::vector<std::string>{"2"});
}

TEST_F(Gsm8kFiles, LimitCutsTheListShort) {
  Gsm8kSettings some = settings(good_, good_);
  const auto all = make_gsm8k(some);
  some.limit = 1;
  EXPECT_EQ(make_gsm8k(some)->size(), 1);
  EXPECT_EQ(make_gsm8k(some)->sample(0).context, all->sample(0).context);
  EXPECT_EQ(make_gsm8k(some)->identity(), all->identity());
  EXPECT_EQ(make_gsm8k(some)->selection(), Json({{"samples", 1}}));
  some.limit = 9;
  EXPECT_EQ(make_gsm8k(some)->size(), 2);
}

TEST_F(Gsm8kFiles, StopsAndBudgetAreTheHarnesss) {
  Gsm8kSettings some = settings(good_, good_);
  some.end_of_text = "<|end_of_text|>";
  const Sample sample = make_gsm8k(some)->sample(0);
  EXPECT_EQ(sample.stops,
            (std::vector<std::string>{"Question:", "</s>", "<|im_end|>", "<|end_of_text|>"}));
  EXPECT_EQ(sample.new_tokens, 256);
}

TEST_F(Gsm8kFiles, IdentityHoldsBothFilesAndTheStops) {
  Gsm8kSettings some = settings(good_, good_);
  const Json json = make_gsm8k(some)->identity();
  EXPECT_EQ(json.at("test").at("sha256"), sha256_hex(good_));
  EXPECT_EQ(json.at("train").at("rows"), 2);
  EXPECT_EQ(json.dump().find(folder_.path().string()), std::string::npos);
  some.end_of_text = "<eos>";
  EXPECT_NE(make_gsm8k(some)->identity(), json);
}

TEST_F(Gsm8kFiles, RefusesWhatIsNoSuchFile) {
  refused("", good_, {"test.jsonl", "is empty"});
  refused(good_, "", {"train.jsonl", "is empty"});
  refused(good_ + "{\"question\": \"Q\"}\n", good_,
          {"test.jsonl", "line 3", "'answer' is missing"});
  refused(good_ + "{\"answer\": \"#### 1\"}", good_, {"line 3", "'question' is missing"});
  refused("{\"question\": 7, \"answer\": \"#### 1\"}\n", good_, {"line 1", "'question' is '7'"});
  refused(good_, "{\"question\": \"Q\", \"answer\": [1]}\n", {"train.jsonl, line 1", "'answer'"});
  refused(good_, good_ + row("Q", "no mark"), {"line 3", "'answer'", "no mark", "#### "});
  refused(good_ + "[1, 2]\n", good_, {"line 3", "not a JSON object"});
  refused(good_ + "\n" + good_, good_, {"line 3", "not valid JSON"});
  refused(good_ + "{\"question\": \"\xff\", \"answer\": \"#### 1\"}\n", good_, {"line 3", "UTF-8"});
  refused(good_ + "{\"question\": \"\\ud800\", \"answer\": \"#### 1\"}\n", good_, {"line 3"});
  refused(good_ + std::string(200000, '['), good_, {"line 3", "nested"});
  refused(good_, row("Q", "#### 1"), {"train.jsonl", "1 line", "2 shots"});
}

TEST_F(Gsm8kFiles, RefusesAFileThatIsNotThere) {
  Gsm8kSettings some = settings(good_, good_);
  some.train_path = folder_ / "absent.jsonl";
  test::expect_refused([&] { make_gsm8k(some); }, {"absent.jsonl", "No such file"});
}

TEST_F(Gsm8kFiles, RefusesSettingsOutOfRange) {
  const Gsm8kSettings good = settings(good_, good_);
  const auto refuse = [](const Gsm8kSettings& bad, const std::string& message) {
    try {
      make_gsm8k(bad);
      ADD_FAILURE() << "was accepted, not: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kUsage);
      EXPECT_EQ(error.what(), message);
    }
  };
  Gsm8kSettings bad = good;
  bad.shots = -1;
  refuse(bad, "gsm8k: shots -1: at least 0");
  bad = good;
  bad.limit = -3;
  refuse(bad, "gsm8k: limit -3: at least 0");
  bad = good;
  bad.new_tokens = 0;
  refuse(bad, "gsm8k: new tokens 0: at least 1");
}

}  // namespace
}  // namespace kvx::eval
