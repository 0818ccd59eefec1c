// `kvx eval` with tasks that are answered by generation: what it records, that nothing but the
// measurement decides it, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>

#include "eval/files.h"
#include "eval/inputs.h"
#include "eval/prompt.h"
#include "eval/runner.h"
#include "sim/api/error.h"
#include "tests/data.h"
#include "tests/support/disturbed_backend.h"
#include "tests/support/program.h"
#include "tests/support/sample_sweep.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
using test::Flip;
using test::SampleSweep;
using test::Words;

const Note kSilent = [](const std::string&) {};

test::Outcome outcome(const Words& words) {
  test::Process process(words);
  const int code = process.wait();
  return {code, process.out(), process.err()};
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
}

class Samples : public testing::Test {
 protected:
  static void SetUpTestSuite() { sweep_ = new SampleSweep(KVX_PROGRAM); }
  static void TearDownTestSuite() { delete sweep_; }

  // The units of the whole sweep, run once.
  static std::map<std::string, test::SweepJson> reference() {
    if (!fs::exists(sweep_->reference())) {
      const test::Outcome run = outcome(sweep_->command(sweep_->reference()));
      EXPECT_EQ(run.code, 0) << run.err;
    }
    return test::units_of(sweep_->reference());
  }
  // A command that must end so, with one line.
  static void expect_refused(const Words& words, int code, const std::string& part) {
    const test::Outcome run = outcome(words);
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    expect_contains(run.err, part);
  }
  // The words behind "kvx eval".
  static Words options(const Words& command) { return {command.begin() + 2, command.end() - 3}; }

  static SampleSweep* sweep_;
  test::TempDir temp_;
};
SampleSweep* Samples::sweep_ = nullptr;

TEST_F(Samples, OneLineForEverySampleModeAndScheme) {
  const auto units = reference();
  EXPECT_EQ(std::ssize(units), SampleSweep::kUnits);
  for (const char* mode : {"streamed", "prefill-exact", "context-exact"})
    for (const char* sample :
         {"needle@1/MODE/single-640-0-0/", "needle@1/MODE/single-640-50-0/",
          "needle@1/MODE/passkey-640-0-0/", "needle@1/MODE/passkey-640-50-0/",
          "arith@1/MODE/problem-0/", "arith@1/MODE/problem-1/", "arith@1/MODE/problem-2/"})
      for (const char* scheme : {"fp@1:f32", "int@1:k4v4", "kivi@1:k2v2,r32"})
        EXPECT_TRUE(units.contains(std::regex_replace(sample, std::regex("MODE"), mode) + scheme))
            << sample << scheme;
  // Every field is documented, and every documented field is there.
  const std::string page = test::read_file(KVX_SCHEMA_PAGE);
  const size_t begin = page.find("schema `kvx-sample/1`"), end = page.find("\n## ", begin);
  ASSERT_LT(begin, end);
  const std::string section = page.substr(begin, end - begin);
  const auto& unit = units.at("needle@1/context-exact/single-640-50-0/int@1:k4v4");
  for (const auto& [name, value] : unit.items())
    EXPECT_NE(section.find("`" + name), std::string::npos) << name;
  const std::regex field("`([a-z_0-9.]+)`");
  std::istringstream lines(section);
  int fields = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `")) continue;
    const std::string first = line.substr(0, line.find('|', 1));
    for (std::sregex_iterator at(first.begin(), first.end(), field), none; at != none; ++at) {
      const std::string name = (*at)[1];
      EXPECT_TRUE(unit.contains(name.substr(0, name.find('.')))) << name;
      ++fields;
    }
  }
  EXPECT_GT(fields, 10);
}

// What follows from the prompt alone, once more from the task and the tokenizer.
TEST_F(Samples, RecordsSayWhatThePromptsAre) {
  const Words words = options(sweep_->command("unused"));
  const Inputs in = read_inputs(Options(eval_options(), words), words, kSilent);
  auto units = reference();
  std::erase_if(units, [](const auto& item) { return item.first.starts_with("ppl@"); });
  constexpr int64_t kRow = 2 * 2 * 32;  // values of a token in K: layers, KV heads, head dim
  int64_t seen = 0;
  for (const TaskInputs& task : in.tasks)
    for (int64_t index = 0; index < task.task->size(); ++index) {
      const Sample sample = task.task->sample(index);
      const std::string text = sample.context + sample.question;
      const auto tokens = in.tokenizer->encode(text, true, false);
      const auto context = in.tokenizer->encode(sample.context, true, false);
      int64_t common = 0;
      while (common < std::ssize(context) && common + 1 < std::ssize(tokens) &&
             context[static_cast<size_t>(common)] == tokens[static_cast<size_t>(common)])
        ++common;
      EXPECT_GT(common, 100);
      for (const char* mode : {"streamed", "prefill-exact", "context-exact"})
        for (const char* scheme : {"fp@1:f32", "int@1:k4v4", "kivi@1:k2v2,r32"}) {
          const std::string key =
              task.versioned() + "/" + mode + "/" + task.task->id(index) + "/" + scheme;
          const auto& unit = units.at(key);
          ++seen;
          const int64_t count = std::ssize(tokens), ids = unit.at("output_tokens");
          const bool exact_context = std::string(mode) == "context-exact";
          EXPECT_EQ(unit.at("prompt_sha256"), sha256_hex(text)) << key;
          EXPECT_EQ(unit.at("prompt_tokens"), count) << key;
          EXPECT_EQ(unit.at("context_tokens"), exact_context                     ? common
                                               : std::string(mode) == "streamed" ? 0
                                                                                 : count);
          EXPECT_EQ(unit.at("tokens"), count + ids - (exact_context ? common : 0)) << key;
          EXPECT_EQ(unit.at("values"), count * kRow) << key;
          EXPECT_EQ(unit.at("expected").get<std::vector<std::string>>(), sample.expected) << key;
          for (const auto& [name, value] : sample.cell) EXPECT_EQ(unit.at("cell").at(name), value);
          EXPECT_EQ(unit.at("logits").get<std::string>().size(), 16u);
          const auto output = unit.at("output_ids").get<std::vector<int32_t>>();
          EXPECT_EQ(std::ssize(output), ids);
          EXPECT_LE(ids, sample.new_tokens);
          EXPECT_EQ(unit.at("stop") == "length", ids == sample.new_tokens) << key;
          if (std::string(scheme) == "fp@1:f32") {
            EXPECT_EQ(unit.at("bytes").at("k").at("total"), 4 * count * kRow) << key;
            EXPECT_EQ(unit.at("bits_per_value").at("kv"), 32.0) << key;
          }
          if (std::string(scheme) == "int@1:k4v4") {  // half a byte, and 4 of scale and zero a row
            EXPECT_EQ(unit.at("bytes").at("v").at("total"), count * (kRow / 2 + 4 * kRow / 32));
          }
          const auto& reading = unit.at("readings").at(0);
          const bool found = unit.at("output").get<std::string>().find(sample.expected.front()) !=
                             std::string::npos;
          if (reading.at("score").at("value") == 1.0) {
            EXPECT_TRUE(found) << key;
          }
        }
    }
  EXPECT_EQ(seen, std::ssize(units));
}

TEST_F(Samples, AnotherMeasurementIsRefusedByName) {
  test::write_file(sweep_->beside("other.txt"), SampleSweep::prose(1));
  std::string lists = test::read_file(KVX_NEEDLE_WORDS);
  for (const char* letter : {"able", "ing"})  // other words
    lists = std::regex_replace(lists, std::regex(letter), "x");
  test::write_file(sweep_->beside("words.json"), lists);
  const auto rows = [](const std::string& folder, const std::string& number) {
    fs::create_directories(folder);
    const std::string row = R"({"question": "How many?", "answer": "Some.\n#### )";
    test::write_file(folder + "/test.jsonl", row + number + "\"}\n");
    test::write_file(folder + "/train.jsonl", row + "1\"}\n" + row + "2\"}\n" + row + "3\"}\n");
  };
  rows(sweep_->beside("gsm8k"), "4");
  rows(sweep_->beside("gsm8k-other"), "5");
  const std::string run = temp_ / "run";
  const auto command = [&](const Words& changes) {
    Words all{"--task",          "needle,arith,gsm8k",
              "--mode",          "streamed",
              "--scheme",        "",
              "--arith-samples", "1",
              "--gsm8k",         sweep_->beside("gsm8k"),
              "--gsm8k-shots",   "1"};
    for (size_t i = 0; i < changes.size(); i += 2) {
      const auto at = std::find(all.begin(), all.end(), changes[i]);
      if (at != all.end()) all.erase(at, at + 2);
    }
    all.insert(all.end(), changes.begin(), changes.end());
    return sweep_->command(run, all);
  };
  ASSERT_EQ(outcome(command({})).code, 0);
  const std::string header = test::read_file(run + "/run.json"),
                    results = test::read_file(run + "/results.jsonl");
  EXPECT_EQ(test::line_count(run), 6);
  const std::vector<std::pair<Words, std::string>> changes{
      {{"--haystack", sweep_->beside("other.txt")}, "tasks.needle.haystack_sha256 is \""},
      {{"--words", sweep_->beside("words.json")}, "tasks.needle.words_sha256 is \""},
      {{"--prompt-seed", "2"}, "tasks.needle.seed is 1 there and 2 now"},
      {{"--prompt-seed", "2", "--task", "arith"}, "tasks.arith.seed is 1 there and 2 now"},
      {{"--arith-shots", "2"}, "tasks.arith.shots is 1 there and 2 now"},
      {{"--gsm8k-shots", "2"}, "tasks.gsm8k.shots is 1 there and 2 now"},
      {{"--gsm8k", sweep_->beside("gsm8k-other")}, "tasks.gsm8k.test is {"},
      {{"--model", sweep_->beside("other-model")}, "identity.model_sha256 is \""}};
  test::TinyModelSpec spec;
  spec.vocab = 900;
  spec.max_positions = 1000;
  test::write_tiny_model(sweep_->beside("other-model"), spec);
  for (const auto& [change, said] : changes) {
    expect_refused(command(change), 2, run + "/run.json: " + said);
    EXPECT_EQ(test::read_file(run + "/run.json"), header);
    EXPECT_EQ(test::read_file(run + "/results.jsonl"), results);
  }
}

TEST_F(Samples, WrongCommandLines) {
  const auto refused = [&](const Words& changes, const std::string& part) {
    expect_refused(sweep_->command(temp_ / "run", changes), 2, part);
    EXPECT_FALSE(fs::exists(temp_ / "run"));
  };
  refused({"--task", "needel"},
          "--task 'needel': must be one of ppl, error, needle, arith, gsm8k; did "
          "you mean 'needle'?");
  refused({"--task", "needle,"}, "--task '': must be one of ");
  refused({"--haystack", ""}, "--haystack: needed, a text file");
  refused({"--task", "gsm8k"}, "--gsm8k is required");
  refused({"--task", "arith", "--mode", "all"}, "--mode all: of tasks ppl and error");
  refused({"--needle-lengths", "64k"}, "--needle-lengths 64k: not an integer");
  refused({"--needle-lengths", "9999999999999999999"}, "--needle-lengths 9999999999999999999: ");
  refused({"--needle-lengths", "100"}, "needle: length 100: sample single-100-0-0 takes ");
  refused({"--needle-lengths", "640,640"}, "needle: lengths has 640 twice");
  refused({"--needle-kinds", "singel"}, "singel");
  refused({"--needle-depths", "101"}, "needle: depth 101: must be 0 to 100");
  refused({"--needle-samples", "0"}, "--needle-samples '0': must be an integer from 1");
  refused({"--arith-shots", "-1"}, "--arith-shots '-1': must be an integer from 0");
  refused({"--batch", "0"}, "--batch '0': must be an integer from 1");
  refused({"--shadow", "1"}, "--shadow: of --backend cuda");
  expect_refused(sweep_->command(temp_ / "run", {"--haystack", temp_ / "absent"}), 3, "absent: ");
  expect_refused(sweep_->command(temp_ / "run", {"--task", "gsm8k", "--gsm8k", temp_ / "absent"}),
                 3, "absent/test.jsonl: ");
  EXPECT_FALSE(fs::exists(temp_ / "run"));
}

// What comes before a prompt that does not fit is measured, whatever the batch.
TEST_F(Samples, APromptBeyondThePositionsNamesItsSample) {
  const Words changes{"--needle-lengths", "640,1001", "--needle-kinds", "passkey",   "--scheme", "",
                      "--mode",           "streamed", "--task",         "ppl,needle"};
  expect_refused(sweep_->command(temp_ / "run", changes), 3,
                 "kvx: task needle: sample passkey-1001-0-0: ");
  EXPECT_EQ(test::line_count(temp_ / "run"), 3);  // a window, two samples of length 640
  expect_refused(sweep_->command(temp_ / "run", changes), 3, "; the model has 1000 positions");
  Words fitting = changes;
  fitting[1] = "640,1000";
  EXPECT_EQ(outcome(sweep_->command(temp_ / "run", fitting)).code, 0);
  EXPECT_EQ(test::line_count(temp_ / "run"), 5);
}

TEST_F(Samples, ATokenThatTheModelHasNot) {
  test::TinyModelSpec spec;
  spec.head_dim = 32;
  spec.vocab = 400;
  spec.max_positions = 1000;
  test::write_tiny_model(temp_ / "model", spec);
  spec.vocab = 900;
  test::write_file(temp_ / "model/tokenizer.json", test::tiny_tokenizer_json(spec));
  expect_refused(sweep_->command(temp_ / "run", {"--task", "arith", "--model", temp_ / "model"}), 3,
                 "the model has 400");
}

TEST_F(Samples, Gsm8kPromptsAreThoseOfTheHarness) {
  KVX_NEED_DATA(file, "gsm8k/test.jsonl");
  test::TinyModelSpec spec;
  spec.vocab = 900;
  spec.max_positions = 4096;
  test::write_tiny_model(temp_ / "model", spec);
  const test::Outcome ended = outcome(sweep_->command(
      temp_ / "run",
      {"--task", "gsm8k", "--gsm8k", fs::path(file).parent_path().string(), "--gsm8k-limit", "2",
       "--model", temp_ / "model", "--scheme", "", "--mode", "context-exact"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto units = test::units_of(temp_ / "run");
  EXPECT_EQ(units.size(), 2u);
  // Of lm-evaluation-harness 0.4.13, task gsm8k version 3.
  EXPECT_EQ(units.at("gsm8k@1/context-exact/test-0/fp@1:f32").at("prompt_sha256"),
            "32680f263ba83280e98a8a24ceefed10a722a4cdcd9f4d78e93c45d43143ca66");
  EXPECT_EQ(units.at("gsm8k@1/context-exact/test-1/fp@1:f32").at("prompt_sha256"),
            "e6b9a0195411932e5323ed20ad05e965b08b979103bbb26594a5bdf123d27990");
  EXPECT_EQ(units.at("gsm8k@1/context-exact/test-0/fp@1:f32").at("expected"),
            test::SweepJson::array({"18"}));
}

TEST_F(Samples, BothBackendsNeedADevice) {
  if (backend_unavailable(kCuda).empty()) GTEST_SKIP() << "there is a device";
  expect_refused(sweep_->command(temp_ / "run", {"--backend", "cpu,cuda"}), 3, "--backend cuda: ");
  EXPECT_FALSE(fs::exists(temp_ / "run"));
}

// Both backends, the second one disturbed.
class SampleEquality : public Samples {
 protected:
  Inputs inputs(const std::vector<std::string>& backends, const Words& more = {}) {
    Words words =
        options(sweep_->command("unused", {"--task", "arith", "--mode", "context-exact",
                                           "--arith-samples", "4", "--scheme", "int:k4v4"}));
    words.insert(words.end(), {"--batch", "3", "--out", temp_ / "run"});
    words.insert(words.end(), more.begin(), more.end());
    Inputs in = read_inputs(Options(eval_options(), words), words, kSilent);
    in.backends = backends;
    return in;
  }
  static bool run(const Inputs& in, const std::string& scheme = {},
                  const std::vector<Flip>& flips = {}) {
    RunFolder folder(in.out, in.header, kSilent);
    return run_missing(in, folder, true, [&](std::string_view name) -> std::unique_ptr<Backend> {
      if (name == kCpu) return open_backend(kCpu, *in.checkpoint, 1);
      return std::make_unique<test::DisturbedBackend>(*in.checkpoint, scheme, flips);
    });
  }
  static std::string verdict(const Inputs& in, const std::vector<Flip>& flips) {
    try {
      run(in, "int", flips);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kVerdict) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no difference was found";
    return {};
  }
  // Lines of differences.jsonl.
  std::vector<test::SweepJson> differences() const {
    std::vector<test::SweepJson> out;
    std::istringstream lines(test::read_file(temp_ / "run/differences.jsonl"));
    for (std::string line; std::getline(lines, line);) out.push_back(test::SweepJson::parse(line));
    return out;
  }
  std::map<std::string, test::SweepJson> units() const { return test::units_of(temp_ / "run"); }
};

TEST_F(SampleEquality, EqualBackendsAreRecordedTogether) {
  EXPECT_TRUE(run(inputs({kCpu, kCuda})));
  EXPECT_EQ(units().size(), 8u);
  for (const auto& [key, unit] : units()) {
    ASSERT_EQ(unit.at("backends").size(), 2u) << key;
    EXPECT_EQ(unit.at("equal"), true);
  }
  // The values are those of one backend, and of a folder that one filled and the other checked.
  const auto both = test::unit_values(temp_ / "run");
  fs::remove_all(temp_ / "run");
  EXPECT_TRUE(run(inputs({kCuda})));
  EXPECT_EQ(test::unit_values(temp_ / "run"), both);
  EXPECT_TRUE(run(inputs({kCpu})));
  EXPECT_EQ(test::line_count(temp_ / "run"), 16);
}

TEST_F(SampleEquality, ADifferenceIsFoundAndNotRecorded) {
  const std::vector<std::pair<Flip, std::string>> flips{
      {{.tensor = "logits", .token = 1, .channel = 3}, "logits of the first token: expected "},
      {{.tensor = "choice", .token = 2, .channel = 1}, "token 3 of the output: expected "},
      {{.tensor = "v.used", .layer = 1}, "bytes.v.zero: expected "}};
  for (const auto& [flip, value] : flips) {
    fs::remove_all(temp_ / "run");
    const std::string message = verdict(inputs({kCpu, kCuda}), {flip});
    expect_contains(message, "int@1:k4v4: cuda does not give the values of cpu: " + value);
    const bool all = flip.tensor == "v.used";
    // Of the first batch of three, one differs, or all of them.
    ASSERT_EQ(differences().size(), all ? 3u : 1u) << value;
    const std::string key =
        "arith@1/context-exact/problem-" + std::string(all ? "0" : "1") + "/int@1:k4v4";
    const auto difference = differences().front();
    EXPECT_EQ(difference.at("key"), key);
    EXPECT_EQ(difference.at("backend"), "cuda");
    EXPECT_EQ(difference.at("expected_of"), "cpu");
    EXPECT_EQ(difference.at("level"), "E3");
    EXPECT_TRUE(difference.at("value").get<std::string>().starts_with(value)) << difference;
    EXPECT_FALSE(units().contains(key));
    EXPECT_EQ(units().size(), all ? 3u : 5u);  // the base, and those that agree
    // A sound backend then finishes the folder.
    EXPECT_TRUE(run(inputs({kCpu, kCuda})));
    EXPECT_EQ(units().size(), 8u);
  }
}

TEST_F(SampleEquality, ARecordedValueIsCompared) {
  EXPECT_TRUE(run(inputs({kCpu})));
  const std::string message =
      verdict(inputs({kCuda}), {{.tensor = "choice", .token = 0, .channel = 0}});
  expect_contains(message, "problem-0/int@1:k4v4: cuda does not give the values of cpu: token 1 ");
  const Inputs in = inputs({kCpu});
  const RunFolder folder(in.out, in.header, kSilent);
  std::set<std::string> differing;
  for (const auto& difference : differences()) differing.insert(difference.at("key"));
  EXPECT_TRUE(differing.contains("arith@1/context-exact/problem-0/int@1:k4v4"));
  for (const char* sample : {"problem-0", "problem-1", "problem-2"})  // of the first batch
    for (const char* scheme : {"fp@1:f32", "int@1:k4v4"}) {
      const UnitKey key{"arith@1", "context-exact", sample, scheme};
      EXPECT_EQ(folder.find_sample(key)->runs.size(), differing.contains(key.str()) ? 1u : 2u);
    }
}

}  // namespace
}  // namespace kvx::eval
