// A run folder is continued only by the same measurement: every field that decides values is
// refused by name, with both values, and nothing in the folder changes.
#include <functional>

#include "tests/support/eval_sweep.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using test::SweepJson;
using test::Words;

struct Change {
  const char* name;
  Words options;       // of the second call, behind the first's, which they replace
  const char* field;   // that is refused
  const char* before;  // empty: a hash
  const char* now;
  bool of_ppl = false;  // not of the model
};

const SweepJson& section(const SweepJson& run, const Change& change) {
  return change.of_ppl ? run.at("tasks").at("ppl") : run.at("identity");
}

void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

class Identity : public testing::TestWithParam<Change> {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new test::Sweep(KVX_PROGRAM);
    test::write_file(beside("other.txt"), test::Sweep::text(1));
    test::TinyModelSpec spec;
    spec.head_dim = 32;
    spec.seed = 6;
    test::write_tiny_model(beside("other-model"), spec);
    // The same weights, and a tokenizer of the same ids in another file.
    fs::copy(sweep_->model(), beside("other-tokenizer"));
    std::string tokenizer = test::read_file(beside("other-tokenizer/tokenizer.json"));
    test::write_file(beside("other-tokenizer/tokenizer.json"), tokenizer + "\n");
    ASSERT_EQ(test::Sweep::run(command({})), 0);
  }
  static void TearDownTestSuite() { delete sweep_; }

  static std::string beside(const std::string& name) {
    return (fs::path(sweep_->data()).parent_path() / name).string();
  }
  static std::string run_json() { return test::read_file(sweep_->reference() + "/run.json"); }

  // The first call, with some of its options replaced.
  static Words command(const Words& options) {
    std::vector<std::pair<std::string, std::string>> pairs{
        {"--model", sweep_->model()}, {"--data", sweep_->data()}, {"--length", "64"},
        {"--windows", "1"},           {"--scheme", "int:k4v4"},   {"--out", sweep_->reference()}};
    for (size_t i = 0; i < options.size(); i += 2) {
      const std::string value =
          options[i + 1].starts_with("other") ? beside(options[i + 1]) : options[i + 1];
      const auto found = std::find_if(pairs.begin(), pairs.end(),
                                      [&](const auto& pair) { return pair.first == options[i]; });
      if (found == pairs.end()) {
        pairs.emplace_back(options[i], value);
      } else {
        found->second = value;
      }
    }
    Words words{KVX_PROGRAM, "eval"};
    for (const auto& [name, value] : pairs) words.insert(words.end(), {name, value});
    return words;
  }

  static void expect_refused(const Words& words, const std::string& field,
                             const std::string& before, const std::string& now) {
    const std::string run = run_json();
    const std::string results = test::read_file(sweep_->reference() + "/results.jsonl");
    test::Process process(words);
    EXPECT_EQ(process.wait(), 2);
    EXPECT_EQ(process.err(), "kvx: " + sweep_->reference() + "/run.json: " + field + " is " +
                                 before + " there and " + now + " now; use another --out\n");
    EXPECT_EQ(run_json(), run);
    EXPECT_EQ(test::read_file(sweep_->reference() + "/results.jsonl"), results);
  }

  static test::Sweep* sweep_;
};
test::Sweep* Identity::sweep_ = nullptr;

TEST_P(Identity, IsRefusedByName) {
  const Change& change = GetParam();
  const SweepJson there = SweepJson::parse(run_json());
  std::string before = change.before, now = change.now;
  if (before.empty()) {
    // What a folder of its own says.
    Words words = command(change.options);
    *(std::find(words.begin(), words.end(), "--out") + 1) =
        beside(std::string("of-") + change.name);
    ASSERT_EQ(test::Sweep::run(words), 0);
    const SweepJson other =
        SweepJson::parse(test::read_file(beside(std::string("of-") + change.name) + "/run.json"));
    before = section(there, change).at(change.field).dump();
    now = section(other, change).at(change.field).dump();
    ASSERT_NE(before, now);
  }
  expect_refused(command(change.options),
                 std::string(change.of_ppl ? "tasks.ppl." : "identity.") + change.field, before,
                 now);
}

INSTANTIATE_TEST_SUITE_P(
    All, Identity,
    testing::Values(
        Change{"Model", {"--model", "other-model"}, "model_sha256", "", ""},
        Change{"Tokenizer", {"--model", "other-tokenizer"}, "tokenizer_sha256", "", ""},
        Change{"Data", {"--data", "other.txt"}, "data_sha256", "", "", true},
        Change{
            "Format", {"--format", "wikitext-raw"}, "format", "\"text\"", "\"wikitext-raw\"", true},
        Change{
            "Protocol", {"--protocol", "llama.cpp"}, "protocol", "\"gptq\"", "\"llama.cpp\"", true},
        Change{"Length", {"--length", "65"}, "length", "64", "65", true},
        Change{"Context", {"--context", "8", "--mode", "context-exact"}, "context", "0", "8", true},
        Change{"Arithmetic", {"--arithmetic", "fixed"}, "arithmetic", "\"ieee\"", "\"fixed\""},
        Change{
            "NonFinite", {"--nonfinite", "propagate"}, "nonfinite", "\"refuse\"", "\"propagate\""}),
    [](const testing::TestParamInfo<Change>& param) { return param.param.name; });

// What another version of the program would have written.
TEST_F(Identity, OfAnotherProgram) {
  const std::string path = sweep_->reference() + "/run.json";
  const std::string good = run_json();
  const auto with = [&](const std::function<void(SweepJson&)>& change) {
    SweepJson json = SweepJson::parse(good);
    change(json);
    test::write_file(path, json.dump(2));
  };
  with([](SweepJson& json) { json["tasks"]["ppl"]["task"] = "ppl@0"; });
  expect_refused(command({}), "tasks.ppl.task", "\"ppl@0\"", "\"ppl@1\"");
  with([](SweepJson& json) { json["identity"]["arithmetic"] = "sm90"; });
  expect_refused(command({}), "identity.arithmetic", "\"sm90\"", "\"ieee\"");
  with([](SweepJson& json) { json["tasks"]["ppl"].erase("protocol"); });
  expect_refused(command({}), "tasks.ppl.protocol", "null", "\"gptq\"");
  with([](SweepJson& json) { json["schemes"] = {"int@0:k4v4"}; });
  {
    test::Process process(command({}));
    EXPECT_EQ(process.wait(), 2);
    EXPECT_NE(process.err().find("run.json: schemes has int@0:k4v4 there and int@1:k4v4 now"),
              std::string::npos)
        << process.err();
  }
  with([](SweepJson& json) { json["schema"] = "kvx-run/0"; });
  {
    test::Process process(command({}));
    EXPECT_EQ(process.wait(), 3);
    EXPECT_NE(process.err().find("run.json: schema is \"kvx-run/0\""), std::string::npos)
        << process.err();
  }
  test::write_file(path, good);
  EXPECT_EQ(test::Sweep::run(command({})), 0);
}

// Views, seeds, threads and order of schemes are no part of it.
TEST_F(Identity, WhatDecidesNoValueMayChange) {
  const std::string results = test::read_file(sweep_->reference() + "/results.jsonl");
  EXPECT_EQ(test::Sweep::run(command({"--seed", "5", "--threads", "2", "--bins", "3"})), 0);
  EXPECT_EQ(test::read_file(sweep_->reference() + "/results.jsonl"), results);
  EXPECT_EQ(SweepJson::parse(run_json()).at("seed"), 5);
}

}  // namespace
}  // namespace kvx
