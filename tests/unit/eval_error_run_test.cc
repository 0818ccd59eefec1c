// Task `error` of `kvx eval` on a small seeded model: the same values after any stop, on any number
// of threads and backends, beside task `ppl` in one folder.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "eval/error_record.h"
#include "eval/files.h"
#include "eval/inputs.h"
#include "eval/runner.h"
#include "sim/api/error.h"
#include "tests/support/disturbed_backend.h"
#include "tests/support/eval_sweep.h"
#include "tests/support/program.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
using test::line_count;
using test::Outcome;
using test::units_of;
using test::values_of;
using test::Words;

constexpr int64_t kWindows = 2, kLayers = 2;
const Words kSchemes{"fp@1:f32", "fp@1:f16", "int@1:k2v2", "int@1:k4v4", "kivi@1:k2v2,r32"};
constexpr int64_t kUnits = 2 * kWindows * 5;
const Words kNames{"k", "v", "weights", "out"};
const Note kSilent = [](const std::string&) {};

class ErrorRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new test::Sweep(KVX_PROGRAM);
    const Outcome outcome = test::kvx_run(words(reference()));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    *printed_ = outcome.out;
  }
  static void TearDownTestSuite() { delete sweep_; }

  static std::string reference() { return sweep_->reference(); }
  static Words words(const std::string& out, const Words& more = {}) {
    Words all{"eval"};
    const std::vector<std::pair<std::string, std::string>> options{
        {"--model", sweep_->model()}, {"--data", sweep_->data()},
        {"--scheme", "fp:f16"},       {"--scheme", "int:k2v2"},
        {"--scheme", "int:k4v4"},     {"--scheme", "kivi:k2v2,r32"},
        {"--task", "error"},          {"--mode", "streamed,all"},
        {"--length", "96"},           {"--error-windows", std::to_string(kWindows)},
        {"--threads", "1"},           {"--out", out}};
    for (const auto& [name, value] : options)
      if (name == "--scheme" || std::ranges::find(more, name) == more.end())
        all.insert(all.end(), {name, value});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static void run(const std::string& out, const Words& more = {}) {
    const Outcome outcome = test::kvx_run(words(out, more));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  static std::string key(const std::string& mode, int64_t window, const std::string& scheme) {
    return "error@1/" + mode + "/" + std::to_string(window) + "/" + scheme;
  }

  static test::Sweep* sweep_;
  static std::string* printed_;
  test::TempDir temp_;
};
test::Sweep* ErrorRun::sweep_ = nullptr;
std::string* ErrorRun::printed_ = new std::string;

// Of a layer, a value by its name.
double error_of(const Json& unit, size_t layer, const std::string& name) {
  return parse_exact_number(unit.at("layers").at(layer).at(name));
}

TEST_F(ErrorRun, OneLineForEveryWindowModeAndScheme) {
  const auto units = units_of(reference());
  EXPECT_EQ(std::ssize(units), kUnits);
  for (const char* mode : {"streamed", "all"})
    for (int64_t window = 0; window < kWindows; ++window)
      for (const std::string& scheme : kSchemes) {
        const Json& unit = units.at(key(mode, window, scheme));
        EXPECT_EQ(unit.at("window"), window);
        EXPECT_EQ(unit.at("tokens"), 96);
        ASSERT_EQ(unit.at("layers").size(), static_cast<size_t>(kLayers));
      }
}

// The base differs from itself in nothing, through the reference's caches and their attention too.
TEST_F(ErrorRun, TheBaseIsExactAndFewerBitsAreWorse) {
  const auto units = units_of(reference());
  for (const char* mode : {"streamed", "all"})
    for (int64_t window = 0; window < kWindows; ++window)
      for (size_t layer = 0; layer < kLayers; ++layer)
        for (const std::string& name : kNames) {
          const auto error = [&](const char* scheme) {
            return error_of(units.at(key(mode, window, scheme)), layer, name);
          };
          EXPECT_EQ(error("fp@1:f32"), 0);
          EXPECT_GT(error("fp@1:f16"), 0);
          EXPECT_LT(error("fp@1:f16"), 1e-3);
          EXPECT_GT(error("int@1:k4v4"), 10 * error("fp@1:f16"));
          EXPECT_GT(error("int@1:k2v2"), 2 * error("int@1:k4v4"));
        }
}

TEST_F(ErrorRun, ThreadsChangeNoValue) {
  for (const char* threads : {"2", "7"}) {
    run(temp_ / threads, {"--threads", threads});
    EXPECT_EQ(values_of(temp_ / threads), values_of(reference())) << threads;
  }
}

TEST_F(ErrorRun, InterruptedFinishesTheUnitAndContinues) {
  const std::string folder = temp_ / "run";
  Words command = words(folder);
  command.insert(command.begin(), KVX_PROGRAM);
  int stops = 0;
  for (int64_t stop_at = 1; stop_at < kUnits; stop_at += 5) {
    test::Process process(command);
    while (process.running() && line_count(folder) < stop_at)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    process.send(stop_at % 2 == 0 ? SIGINT : SIGKILL);
    const int code = process.wait();
    if (code == 130 || code == -SIGKILL) ++stops;
  }
  EXPECT_GE(stops, 2);
  run(folder);
  EXPECT_EQ(values_of(folder), values_of(reference()));
}

// Asked for in another order and in parts; and beside task ppl, whose caches hold as many bytes.
TEST_F(ErrorRun, GrowsBesideOtherTasks) {
  const std::string folder = temp_ / "run";
  run(folder, {"--mode", "all", "--error-windows", "1"});
  run(folder, {"--task", "ppl,error", "--windows", "1"});
  auto units = units_of(folder);
  EXPECT_EQ(std::ssize(units), kUnits + 2 * 5);
  const auto expected = units_of(reference());
  for (const auto& [name, unit] : expected)
    EXPECT_EQ(units.at(name).at("layers"), unit.at("layers"));
  for (const char* mode : {"streamed", "all"})
    for (const std::string& scheme : kSchemes) {
      const Json& error = units.at(key(mode, 0, scheme));
      const Json& ppl = units.at("ppl@1/" + std::string(mode) + "/0/" + scheme);
      for (const char* name : {"tokens", "values", "bytes", "bits_per_value", "nominal_bits"})
        EXPECT_EQ(error.at(name), ppl.at(name)) << name << " " << scheme;
    }
  const Json run_json = Json::parse(test::read_file(folder + "/run.json"));
  EXPECT_EQ(run_json.at("measured").at("error"),
            Json({{"modes", {"all", "streamed"}}, {"windows", kWindows}}));
  EXPECT_EQ(run_json.at("measured").at("ppl").at("windows"), 1);
}

TEST_F(ErrorRun, RunJsonSaysWhatWasMeasured) {
  const Json run_json = Json::parse(test::read_file(reference() + "/run.json"));
  const Json& error = run_json.at("tasks").at("error");
  EXPECT_EQ(error.at("task"), "error@1");
  EXPECT_EQ(error.at("text_sha256"), sha256_hex(test::read_file(sweep_->data())));
  EXPECT_EQ(error.at("length"), 96);
  EXPECT_FALSE(error.contains("context"));
  EXPECT_FALSE(run_json.at("tasks").contains("ppl"));
  EXPECT_EQ(run_json.at("data").at("path"), sweep_->data());
  const std::string before = test::read_file(reference() + "/results.jsonl");
  const Outcome outcome = test::kvx_run(words(reference(), {"--length", "64"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("tasks.error.length is 96 there and 64 now"), std::string::npos)
      << outcome.err;
  EXPECT_EQ(test::read_file(reference() + "/results.jsonl"), before);
}

TEST_F(ErrorRun, EveryFieldIsDocumented) {
  const std::string page = test::read_file(KVX_SCHEMA_PAGE);
  const size_t begin = page.find("schema `kvx-error/1`");
  ASSERT_NE(begin, std::string::npos);
  const std::string section = page.substr(begin, page.find("\n## ", begin) - begin);
  const Json unit = units_of(reference()).begin()->second;
  for (const auto& [name, value] : unit.items())
    EXPECT_NE(section.find("`" + name + "`"), std::string::npos) << name;
  for (const auto& [name, value] : unit.at("layers").at(0).items())
    EXPECT_NE(section.find("`layers." + name + "`"), std::string::npos) << name;
  const Json run_json = Json::parse(test::read_file(reference() + "/run.json"));
  EXPECT_NE(page.find("`tasks.error`"), std::string::npos);
  for (const auto& [name, value] : run_json.at("tasks").at("error").items())
    EXPECT_NE(page.find("`tasks.ppl." + name + "`"), std::string::npos) << name;
}

// Means, worst layer and the CSV file once more from the lines.
TEST_F(ErrorRun, TableAndCsvShowTheSameNumbers) {
  const auto units = units_of(reference());
  double sum = 0, worst = 0;
  for (int64_t window = 0; window < kWindows; ++window)
    for (size_t layer = 0; layer < kLayers; ++layer) {
      const double out = error_of(units.at(key("all", window, "int@1:k2v2")), layer, "out");
      sum += out;
      worst = std::max(worst, out);
    }
  const auto shown = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%#.3g", value);
    return std::string(text);
  };
  const std::string all = printed_->substr(printed_->find("mode    all, L 96, 2 windows"));
  const std::string line = all.substr(all.find("int:k2v2"), all.find('\n', all.find("int:k2v2")));
  EXPECT_NE(line.find(shown(sum / (kWindows * kLayers))), std::string::npos) << line;
  EXPECT_NE(line.find(shown(worst)), std::string::npos) << line;

  const std::string csv = test::read_file(reference() + "/error.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + kUnits * kLayers);
  const Json& unit = units.at(key("streamed", 1, "kivi@1:k2v2,r32"));
  std::string row = "streamed,\"kivi@1:k2v2,r32\",1,1";
  for (const std::string& name : kNames)
    row += "," + unit.at("layers").at(1).at(name).at("value").dump();
  EXPECT_NE(csv.find(row + "\n"), std::string::npos) << row << "\n" << csv;
}

TEST_F(ErrorRun, BadInputIsOneLine) {
  const auto expect = [&](const Words& more, int code, const std::string& says) {
    const Outcome outcome = test::kvx_run(words(temp_ / "none", more));
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_FALSE(fs::exists(temp_ / "none"));
  };
  expect({"--error-windows", "0"}, 2, "--error-windows");
  expect({"--error-windows", "999999"}, 2, "--error-windows 999999");
  expect({"--mode", "prefill-exact"}, 2, "task error knows streamed and all");
  expect({"--context", "8"}, 2, "--context");
  const Outcome outcome = test::kvx_run({"eval", "--model", sweep_->model(), "--task", "error"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("--data is required"), std::string::npos) << outcome.err;
}

// Both backends: equal values are recorded together; where the engine's activations differ by one
// bit, the unit is refused.
class ErrorBackends : public ErrorRun {
 protected:
  void run_both(const std::vector<test::Flip>& flips) {
    const Words command = words(temp_ / "run", {"--error-windows", "1"});
    Inputs in = read_inputs(Options(eval_options(), Words(command.begin() + 1, command.end())),
                            command, kSilent);
    in.backends = {kCpu, kCuda};
    RunFolder folder(in.out, in.header, kSilent);
    const BackendMaker make = [&](std::string_view name) -> std::unique_ptr<Backend> {
      if (name == kCpu) return open_backend(kCpu, *in.checkpoint, 1);
      return std::make_unique<test::DisturbedBackend>(*in.checkpoint, "", flips);
    };
    ASSERT_TRUE(run_missing(in, folder, true, make));
  }
};

// By key, the line that holds.
std::map<std::string, Json> last_units(const std::string& run) {
  std::map<std::string, Json> units;
  std::istringstream lines(test::read_file(run + "/results.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json unit = Json::parse(line);
    units[unit.at("key")] = unit;
  }
  return units;
}

TEST_F(ErrorBackends, EqualOnesAreRecordedTogether) {
  run_both({});
  const auto expected = units_of(reference());
  const auto last = last_units(temp_ / "run");
  EXPECT_EQ(std::ssize(last), kUnits / kWindows);
  for (const auto& [name, unit] : last) {
    EXPECT_EQ(unit.at("equal"), true);
    EXPECT_EQ(unit.at("backends").size(), 2u);
    EXPECT_EQ(unit.at("layers"), expected.at(name).at("layers"));
  }
}

TEST_F(ErrorBackends, OneBitOfDifferenceIsAVerdict) {
  for (const char* tensor : {"q", "k", "v", "out"}) {
    std::string message;
    try {
      run_both({{.tensor = tensor, .layer = 1, .head = 1, .token = 90, .channel = 3}});
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kVerdict);
      message = error.what();
    }
    EXPECT_NE(message.find("of layer 1: expected "), std::string::npos) << tensor << message;
    // The base's cache holds the flipped bit too and may give the same output.
    for (const auto& [name, unit] : last_units(temp_ / "run")) {
      EXPECT_EQ(unit.at("backends").at(0).at("name"), "cpu");
      EXPECT_TRUE(unit.at("scheme") == "fp@1:f32" || !unit.contains("equal")) << tensor << name;
    }
    const std::string differences = test::read_file(temp_ / "run/differences.jsonl");
    EXPECT_NE(differences.find("\"backend\":\"cuda\""), std::string::npos) << differences;
    fs::remove_all(temp_ / "run");
  }
}

}  // namespace
}  // namespace kvx::eval
