// Both backends in one evaluation: equal values are recorded as equal, one bit of difference is
// found, shown and not recorded.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "eval/equality.h"
#include "eval/files.h"
#include "eval/inputs.h"
#include "eval/runner.h"
#include "eval/summary.h"
#include "sim/api/error.h"
#include "tests/support/disturbed_backend.h"
#include "tests/support/eval_sweep.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
using test::Flip;

constexpr int64_t kLength = 96;

const Note kSilent = [](const std::string&) {};

class Equality : public testing::Test {
 protected:
  static void SetUpTestSuite() { sweep_ = new test::Sweep(KVX_PROGRAM); }
  static void TearDownTestSuite() { delete sweep_; }

  // What `kvx eval` would be asked, on backends that may be disturbed ones.
  Inputs inputs(const std::vector<std::string>& backends, const std::string& out = "run") {
    const std::vector<std::string> words{"--model",   sweep_->model(),
                                         "--data",    sweep_->data(),
                                         "--scheme",  "int:k3v3",
                                         "--scheme",  "kivi:k2v2,r32",
                                         "--mode",    "streamed,all",
                                         "--length",  "96",
                                         "--out",     temp_ / out,
                                         "--windows", "1",
                                         "--threads", "1"};
    Inputs in = read_inputs(Options(eval_options(), words), words, kSilent);
    in.backends = backends;
    return in;
  }

  void run(const Inputs& in, const std::string& scheme = {}, const std::vector<Flip>& flips = {}) {
    RunFolder folder(in.out, in.header, kSilent);
    const BackendMaker make = [&](std::string_view name) -> std::unique_ptr<Backend> {
      if (name == kCpu) return open_backend(kCpu, *in.checkpoint, 1);
      auto backend = std::make_unique<test::DisturbedBackend>(*in.checkpoint, scheme, flips);
      cuda_ = backend.get();
      return backend;
    };
    ASSERT_TRUE(run_missing(in, folder, true, make));
  }

  // The message of the verdict that ends the run.
  std::string verdict(const Inputs& in, const std::string& scheme, const std::vector<Flip>& flips) {
    try {
      run(in, scheme, flips);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kVerdict) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no difference was found";
    return {};
  }

  static Summary summary(const Inputs& in) {
    const RunFolder folder(in.out, in.header, kSilent);
    return summarise(folder, in.ppl->cut, in.ppl->windows, 8, kSilent);
  }

  static void expect_contains(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
  }

  Json difference() const {
    const std::string text = read_file(temp_ / "run/differences.jsonl");
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    return Json::parse(text);
  }

  static test::Sweep* sweep_;
  test::TempDir temp_;
  test::DisturbedBackend* cuda_ = nullptr;  // of the last run, while it runs
};
test::Sweep* Equality::sweep_ = nullptr;

TEST_F(Equality, EqualBackendsAreRecordedTogether) {
  run(inputs({kCpu, kCuda}));
  run(inputs({kCpu}, "cpu"));
  EXPECT_EQ(test::values_of(temp_ / "run"), test::values_of(temp_ / "cpu"));
  const auto units = test::units_of(temp_ / "run");
  EXPECT_EQ(units.size(), 6u);
  for (const auto& [key, unit] : units) {
    ASSERT_EQ(unit.at("backends").size(), 2u) << key;
    EXPECT_EQ(unit.at("backends")[0].at("name"), "cpu");
    EXPECT_EQ(unit.at("backends")[1].at("name"), "cuda");
    EXPECT_EQ(unit.at("equal"), true);
    EXPECT_EQ(unit.at("logits").get<std::string>().size(), 16u);
  }
  for (const auto& [key, unit] : test::units_of(temp_ / "cpu")) {
    EXPECT_EQ(unit.at("backends").size(), 1u) << key;
    EXPECT_FALSE(unit.contains("equal"));
  }
  const Summary both = summary(inputs({kCpu, kCuda}));
  ASSERT_EQ(both.modes.size(), 2u);
  for (const ModeSummary& mode : both.modes) {
    EXPECT_EQ(mode.backends.units, 3);
    EXPECT_EQ(mode.backends.equal, 3);
    EXPECT_EQ(mode.backends.by_name, (std::map<std::string, int64_t>{{"cpu", 3}, {"cuda", 3}}));
  }
  expect_contains(summary_table(both), "cpu: 3 of 3 units, cuda: 3 of 3 units\nequality: 3 units");
  EXPECT_EQ(summary_json(both).at("modes")[0].at("backends").at("equal"), 3);
  EXPECT_EQ(summary_table(summary(inputs({kCpu}, "cpu"))).find("units"), std::string::npos);
  EXPECT_FALSE(fs::exists(temp_ / "run/differences.jsonl"));
}

// What one backend recorded, the other checks: a line more a unit, the last one holds.
TEST_F(Equality, RecordedValuesAreCheckedByTheOtherBackend) {
  run(inputs({kCpu}));
  const std::string first = read_file(temp_ / "run/results.jsonl");
  run(inputs({kCuda}));
  const std::string text = read_file(temp_ / "run/results.jsonl");
  EXPECT_EQ(text.rfind(first, 0), 0u);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 12);
  const Inputs in = inputs({kCpu, kCuda});
  {
    const RunFolder folder(in.out, in.header, kSilent);
    EXPECT_EQ(folder.size(), 6u);
    const WindowRecord* unit = folder.find_window(window_key("all", 0, "kivi@1:k2v2,r32"));
    ASSERT_NE(unit, nullptr);
    EXPECT_TRUE(unit->has_run(kCpu) && unit->has_run(kCuda));
    EXPECT_EQ(unit->runs.size(), 2u);
    folder.positions(*unit);
  }
  // Nothing is left to be done.
  cuda_ = nullptr;
  run(in);
  EXPECT_EQ(cuda_, nullptr);
  EXPECT_EQ(read_file(temp_ / "run/results.jsonl"), text);
}

// Lines of an earlier program name no backend and no hash of logits.
TEST_F(Equality, AnOlderFolderIsContinuedAndChecked) {
  run(inputs({kCpu}));
  std::string older;
  for (const auto& [key, unit] : test::units_of(temp_ / "run")) {
    Json line = unit;
    for (const char* name : {"logits", "backends", "equal"}) line.erase(name);
    older += line.dump() + "\n";
  }
  test::write_file(temp_ / "run/results.jsonl", older);
  run(inputs({kCuda}));
  const Inputs in = inputs({kCpu});
  const RunFolder folder(in.out, in.header, kSilent);
  const WindowRecord* unit = folder.find_window(window_key("streamed", 0, "int@1:k3v3"));
  ASSERT_NE(unit, nullptr);
  EXPECT_EQ(unit->runs.size(), 2u);
  EXPECT_TRUE(unit->logits.has_value());
}

TEST_F(Equality, OneBitOfOneLogitIsFound) {
  const std::string message =
      verdict(inputs({kCpu, kCuda}), "kivi", {{.tensor = "logits", .token = 7, .channel = 11}});
  expect_contains(message,
                  "ppl@1/streamed/0/kivi@1:k2v2,r32: cuda does not give the values of cpu");
  expect_contains(message, "logits [token 7, vocabulary 11]: expected ");
  expect_contains(message, "; 1 of 320 values differ");
  const Json json = difference();
  EXPECT_EQ(json.at("level"), "E3");
  EXPECT_EQ(json.at("key"), "ppl@1/streamed/0/kivi@1:k2v2,r32");
  EXPECT_EQ(json.at("places")[0].at("index").at("vocabulary"), 11);
  EXPECT_NE(json.at("places")[0].at("expected"), json.at("places")[0].at("found"));
  // The base and the other scheme are recorded, this unit is not.
  EXPECT_EQ(test::units_of(temp_ / "run").size(), 2u);
}

TEST_F(Equality, ADifferenceInALayerIsLocated) {
  const Flip logit{.tensor = "logits", .token = 60, .channel = 3};
  for (const char* tensor : {"k", "v", "q", "out"}) {
    const std::string message =
        verdict(inputs({kCpu, kCuda}, tensor), "int",
                {logit, {.tensor = tensor, .layer = 1, .head = 1, .token = 17, .channel = 5}});
    expect_contains(message,
                    std::string("; layer 1, ") + tensor + " [head 1, token 17, channel 5]");
    EXPECT_EQ(message.find("logits ["), std::string::npos) << message;
  }
}

TEST_F(Equality, ADifferenceInWhatIsStoredComesFirst) {
  const std::string message =
      verdict(inputs({kCpu, kCuda}), "int",
              {{.tensor = "logits", .token = 60, .channel = 3},
               {.tensor = "out", .layer = 1, .token = 40, .channel = 2},
               {.tensor = "v.codes", .layer = 1, .channel = (1 * kLength + 30) * 32 + 9}});
  expect_contains(message, "; layer 1, v.codes [head 1, token 30, channel 9]: expected ");
  EXPECT_LT(message.find("v.codes"), message.find("layer 1, out [head 0, token 40, channel 2]"));
}

TEST_F(Equality, AnotherRecordedLikelihoodIsFound) {
  const Inputs in = inputs({kCpu});
  run(in);
  const std::string key = "ppl@1/all/0/int@1:k3v3";
  {
    RunFolder folder(in.out, in.header, kSilent);
    WindowRecord record = *folder.find_window(window_key("all", 0, "int@1:k3v3"));
    PositionScores scores = folder.positions(record);
    scores.nll[33] += 1e-15;
    folder.add(record, scores);
  }
  const std::string message = verdict(inputs({kCuda}), "", {});
  expect_contains(message, key + ": cuda does not give the values of cpu: nll of position 33: ");
  expect_contains(message, "computed once more, every layer and logit is equal");
}

TEST_F(Equality, TheSameBackendWithOtherValuesIsNotTrusted) {
  const Inputs in = inputs({kCpu});
  run(in);
  {
    RunFolder folder(in.out, in.header, kSilent);
    WindowRecord record = *folder.find_window(window_key("all", 0, "fp@1:f32"));
    PositionScores scores = folder.positions(record);
    scores.nll[0] += 1e-15;
    folder.add(record, scores);
  }
  const std::vector<std::string> words{
      "--model", sweep_->model(), "--data", sweep_->data(), "--scheme", "fp:f16",    "--mode",
      "all",     "--length",      "96",     "--out",        in.out,     "--windows", "1"};
  const std::string message =
      verdict(read_inputs(Options(eval_options(), words), words, kSilent), "", {});
  expect_contains(message, "fp@1:f32: cpu does not give the values of cpu: nll of position 0");
}

TEST_F(Equality, TheShadowCheckIsRecorded) {
  Inputs in = inputs({kCuda});
  in.shadow_layers = 1;
  run(in);
  for (const auto& [key, unit] : test::units_of(temp_ / "run")) {
    const Json& run = unit.at("backends")[0];
    EXPECT_EQ(run.at("name"), "cuda");
    EXPECT_EQ(run.at("shadow").at("E1"), 2 * 2 * kLength * 32) << key;
    EXPECT_EQ(run.at("shadow").at("E2"), 8 * 4 * 32) << key;
    EXPECT_GT(run.at("shadow").at("E0"), 0) << key;
    EXPECT_EQ(run.at("shadow").at("mismatches"), 0) << key;
  }
  const std::string table = summary_table(summary(inputs({kCuda})));
  expect_contains(table, "E1 36,864, E2 3,072 values, 0 mismatches");
  // The values are the CPU's.
  run(inputs({kCpu}, "cpu"));
  EXPECT_EQ(test::values_of(temp_ / "run"), test::values_of(temp_ / "cpu"));
}

TEST_F(Equality, AShadowMismatchIsAVerdict) {
  Inputs in = inputs({kCuda});
  in.shadow_layers = 2;
  const std::string message =
      verdict(in, "kivi", {{.tensor = "v.decoded", .layer = 1, .channel = 4 * (5 * 32 + 6)}});
  expect_contains(message,
                  "ppl@1/streamed/0/kivi@1:k2v2,r32: cuda differs from the reference at E1: layer "
                  "1, v.decoded [head 0, token 5, channel 6]: expected ");
  EXPECT_EQ(difference().at("expected_of"), "reference");
  EXPECT_EQ(difference().at("level"), "E1");
  EXPECT_EQ(test::units_of(temp_ / "run").size(), 2u);
}

TEST(Backends, AreNamedOnceInOneOrder) {
  EXPECT_EQ(parse_backends("cuda,cpu,cuda"), (std::vector<std::string>{"cpu", "cuda"}));
  EXPECT_EQ(parse_backends("cpu"), std::vector<std::string>{"cpu"});
  EXPECT_THROW(parse_backends("cpu,"), Error);
}

}  // namespace
}  // namespace kvx::eval
