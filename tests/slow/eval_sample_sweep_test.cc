// Sweeps over tasks give the same values in any batches, on any number of threads, and in whatever
// order a folder grows; a damaged folder is refused.
#include <filesystem>
#include <functional>

#include "tests/support/program.h"
#include "tests/support/sample_sweep.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using test::SampleSweep;
using test::Words;

test::Outcome outcome(const Words& words) {
  return test::kvx_run({words.begin() + 1, words.end()});
}

class SampleSweeps : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new SampleSweep(KVX_PROGRAM);
    ASSERT_EQ(test::Sweep::run(sweep_->command(sweep_->reference())), 0);
  }
  static void TearDownTestSuite() { delete sweep_; }

  static SampleSweep* sweep_;
  test::TempDir temp_;
};
SampleSweep* SampleSweeps::sweep_ = nullptr;

TEST_F(SampleSweeps, SameAtAnyBatchAndNumberOfThreads) {
  const auto reference = test::unit_values(sweep_->reference());
  const auto run = [&](const std::string& name, const Words& changes) {
    const test::Outcome ended = outcome(sweep_->command(temp_ / name, changes));
    EXPECT_EQ(ended.code, 0) << ended.err;
    return test::unit_values(temp_ / name);
  };
  const auto expect_part = [&](const std::map<std::string, std::string>& found, size_t size) {
    EXPECT_EQ(found.size(), size);
    for (const auto& [key, value] : found) EXPECT_EQ(value, reference.at(key));
  };
  const Words smaller{"--task", "needle,arith", "--scheme", "kivi:k2v2,r32", "--batch"};
  for (const char* batch : {"1", "3"}) {
    Words changes = smaller;
    changes.push_back(batch);
    expect_part(run(batch, changes), 2 * 3 * SampleSweep::kSamples);
  }
  // Threads that wait for each other on a busy machine are slow: little of it.
  expect_part(run("threads", {"--task", "needle", "--needle-kinds", "passkey", "--threads", "2",
                              "--batch", "4096"}),
              18);
}

// A folder that grows by tasks, modes, kinds, depths, samples and schemes ends as one that was
// asked for everything at once.
TEST_F(SampleSweeps, AFolderGrows) {
  const std::string run = temp_ / "run";
  const std::vector<Words> steps{
      {"--task", "needle", "--needle-kinds", "passkey", "--haystack", "", "--needle-depths", "50",
       "--scheme", "int:k4v4", "--mode", "streamed"},
      {"--task", "needle", "--needle-depths", "0", "--scheme", "", "--mode", "context-exact"},
      {"--task", "arith", "--arith-samples", "2", "--mode", "prefill-exact"},
      {"--task", "needle", "--needle-kinds", "passkey", "--haystack", ""},
      {"--task", "arith,ppl", "--mode", "streamed", "--arith-samples", "1"},
      {}};
  int64_t before = 0;
  for (const Words& step : steps) {
    const test::Outcome ended = outcome(sweep_->command(run, step));
    ASSERT_EQ(ended.code, 0) << ended.err;
    EXPECT_GT(test::line_count(run), before);
    before = test::line_count(run);
  }
  EXPECT_EQ(test::unit_values(run), test::unit_values(sweep_->reference()));
  EXPECT_EQ(before, SampleSweep::kUnits);  // nothing was measured twice
  const auto of = [](const std::string& folder) {
    auto json = test::SweepJson::parse(test::read_file(folder + "/run.json"));
    for (auto& [task, asked] : json.at("measured").items())
      for (auto& [name, value] : asked.items())
        if (value.is_array()) std::sort(value.begin(), value.end());
    std::sort(json.at("schemes").begin(), json.at("schemes").end());
    json.erase("sessions");
    return nlohmann::json::parse(json.dump());
  };
  EXPECT_EQ(of(run), of(sweep_->reference()));
}

TEST_F(SampleSweeps, DamagedLinesAreRefusedAndTornOnesMeasuredAgain) {
  const std::string run = temp_ / "run", results = run + "/results.jsonl";
  fs::copy(sweep_->reference(), run, fs::copy_options::recursive);
  const std::string good = test::read_file(results);
  const auto reference = test::unit_values(run);
  const size_t last = good.rfind('\n', good.size() - 2) + 1;
  const auto with = [&](const std::function<void(test::SweepJson&)>& change) {
    auto json = test::SweepJson::parse(good.substr(last));
    change(json);
    return json.dump() + "\n";
  };
  const std::vector<std::string> damaged{
      with([](auto& json) { json["schema"] = "kvx-sample/9"; }),
      with([](auto& json) { json["stop"] = "tired"; }),
      with([](auto& json) { json["cell"] = 3; }),
      with([](auto& json) { json["cell"]["steps"] = 3; }),
      with([](auto& json) { json["output_ids"] = {"a"}; }),
      with([](auto& json) { json["sample"] = "problem-9"; }),
      with([](auto& json) { json["readings"][0].erase("score"); }),
      with([](auto& json) { json["logits"] = "12"; }),
      with([](auto& json) { json["backends"] = test::SweepJson::array(); }),
      with([](auto& json) { json["bytes"]["k"]["total"] = 1; }),
      "{}\n",
      "[]\n",
      "3\n"};
  const Words command = sweep_->command(run);
  for (const std::string& line : damaged) {
    // Not the last one: that could be torn.
    test::write_file(results, good.substr(0, last) + line + good.substr(last));
    const test::Outcome ended = outcome(command);
    EXPECT_EQ(ended.code, 3) << line;
    EXPECT_NE(ended.err.find(results + ": line "), std::string::npos) << ended.err;
  }
  for (const size_t cut : {last + 1, last + 300, good.size() - 1}) {
    test::write_file(results, good.substr(0, cut));
    Words loud = command;
    loud.erase(std::find(loud.begin(), loud.end(), "--quiet"));
    const test::Outcome ended = outcome(loud);
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_NE(ended.err.find(" was torn and is measured again"), std::string::npos) << ended.err;
    EXPECT_EQ(test::unit_values(run), reference);
  }
}

}  // namespace
}  // namespace kvx
