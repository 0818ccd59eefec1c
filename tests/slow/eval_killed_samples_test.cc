// A sweep over tasks that is killed, or stopped, at any moment continues to the values of an
// uninterrupted one, in whatever batches.
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "tests/support/sample_sweep.h"

namespace kvx {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;
using test::Process;
using test::SampleSweep;
using test::Words;

class KilledSamples : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new SampleSweep(KVX_PROGRAM);
    const auto begin = steady_clock::now();
    ASSERT_EQ(test::Sweep::run(sweep_->command(sweep_->reference())), 0);
    seconds_ = duration<double>(steady_clock::now() - begin).count();
  }
  static void TearDownTestSuite() { delete sweep_; }

  static SampleSweep* sweep_;
  static double seconds_;  // of the uninterrupted run
};
SampleSweep* KilledSamples::sweep_ = nullptr;
double KilledSamples::seconds_ = 0;

TEST_F(KilledSamples, ContinueToTheSameValues) {
  const auto reference = test::unit_values(sweep_->reference());
  ASSERT_EQ(std::ssize(reference), SampleSweep::kUnits);
  std::mt19937 draw(40);
  const auto share = [&draw] { return static_cast<double>(draw()) / 4294967296.0; };
  const std::vector<const char*> batches{"1", "2", "16"};
  std::set<int64_t> lines_at_kill;
  int kills = 0;
  for (int attempt = 0; kills < 8 && attempt < 40; ++attempt) {
    test::TempDir temp;
    const std::string run = temp / "run";
    Process process(sweep_->command(run, {"--batch", batches[draw() % 3]}));
    std::this_thread::sleep_for(duration<double>(seconds_ * (kills + share()) / 8));
    process.send(SIGKILL);
    if (process.wait() != -SIGKILL) {  // the machine is faster than it was
      seconds_ *= 0.9;
      continue;
    }
    ++kills;
    lines_at_kill.insert(test::line_count(run));
    if (kills % 2 == 0 && test::line_count(run) > 0) {  // and a write that lost its end
      const std::string results = run + "/results.jsonl", text = test::read_file(results);
      test::write_file(results, text.substr(0, text.rfind('\n') + 1) +
                                    text.substr(0, 1 + draw() % (text.find('\n') - 1)));
    }
    ASSERT_EQ(test::Sweep::run(sweep_->command(run, {"--batch", batches[draw() % 3]})), 0);
    EXPECT_EQ(test::unit_values(run), reference);
    if (HasFailure()) FAIL() << "killed after " << *lines_at_kill.rbegin() << " lines or fewer";
  }
  EXPECT_EQ(kills, 8);
  EXPECT_GE(lines_at_kill.size(), 3u);  // different moments of the sweep
}

TEST_F(KilledSamples, StopAfterTheBatchInHand) {
  test::TempDir temp;
  const std::string run = temp / "run";
  Process process(sweep_->command(run, {"--batch", "1"}));
  while (process.running() && test::line_count(run) < 12)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  process.send(SIGINT);
  const int64_t lines = test::line_count(run);
  EXPECT_EQ(process.wait(), 130) << process.err();
  EXPECT_NE(process.err().find("interrupted with "), std::string::npos) << process.err();
  EXPECT_LE(test::line_count(run), lines + 2);
  EXPECT_LT(test::line_count(run), SampleSweep::kUnits);
  ASSERT_EQ(test::Sweep::run(sweep_->command(run)), 0);
  EXPECT_EQ(test::unit_values(run), test::unit_values(sweep_->reference()));
}

// The tool that compares folders reads samples beside windows, and can disagree.
TEST_F(KilledSamples, SameValuesReadsSamples) {
  test::TempDir temp;
  const auto compare = [&](const std::string& other) {
    Process process({KVX_PYTHON, "-B", KVX_SAME_VALUES, sweep_->reference(), other});
    const int code = process.wait();
    return std::make_pair(code, process.out());
  };
  const std::string all = std::to_string(SampleSweep::kUnits) + " units in both, ";
  EXPECT_EQ(compare(sweep_->reference()), std::make_pair(0, all + "0 differ\n"));
  const std::string text = test::read_file(sweep_->reference() + "/results.jsonl");
  const auto with = [&](const std::string& name, const std::string& field,
                        const test::SweepJson& value) {
    std::filesystem::create_directories(temp / name);
    auto json = test::SweepJson::parse(text.substr(text.rfind('\n', text.size() - 2) + 1));
    json[field] = value;
    test::write_file(temp / name + "/results.jsonl", text + json.dump() + "\n");  // the last holds
    return temp / name;
  };
  EXPECT_EQ(compare(with("timing", "timing", 3)), std::make_pair(0, all + "0 differ\n"));
  for (const char* field : {"output", "output_ids", "logits", "readings", "bytes"}) {
    const auto [code, said] = compare(with(field, field, "other"));
    EXPECT_EQ(code, 1);
    EXPECT_TRUE(said.ends_with(std::string(" differs in ") + field + "\n" + all + "1 differ\n"))
        << said;
  }
}

}  // namespace
}  // namespace kvx
