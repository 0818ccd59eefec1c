// Run folders: what survives a stop at any moment, and what is refused.
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "eval/files.h"
#include "eval/store.h"
#include "sim/api/error.h"
#include "tests/support/temp_dir.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;

Json header(int64_t length = 8, const std::vector<std::string>& schemes = {"int@1:k4v4"},
            int64_t windows = 2) {
  return {{"schema", kRunSchema},
          {"identity", {{"arithmetic", "ieee"}}},
          {"tasks", {{"ppl", {{"task", kPplTask}, {"length", length}}}}},
          {"measured", {{"ppl", {{"modes", {"streamed"}}, {"windows", windows}}}}},
          {"schemes", schemes},
          {"seed", 1},
          {"sessions", Json::array({{{"started", "now"}}})}};
}

PositionScores scores(double shift) {
  PositionScores out;
  for (int i = 0; i < 7; ++i) {
    out.nll.push_back(1.0 / 3 + shift + i);
    out.kl.push_back(0.1 * i * shift);
    out.same_top.push_back(i < 5 ? 1 : 0);
  }
  return out;
}

WindowRecord record(int64_t window, const std::string& scheme = "int@1:k4v4") {
  WindowRecord out;
  out.key = window_key("streamed", window, scheme);
  out.window = window;
  out.protocol = "gptq";
  out.tokens = 8;
  out.context = 2;
  out.first_position = 1;
  out.values = 1024;
  out.bytes[0][Item::kCodes] = 512;
  out.bytes[1][Item::kScale] = 96;
  out.nominal = {4, 4};
  out.logits = 0x0123456789abcdef;
  out.runs = {{"cpu", 0.5, {}}};
  out.summarise(scores(static_cast<double>(window) + 1));
  return out;
}

class RunFolderTest : public testing::Test {
 protected:
  RunFolder open(const Json& content = header()) {
    return {path, content, [this](const std::string& note) { notes.push_back(note); }};
  }
  // The message of the Error that `action` throws, after checking its exit code.
  template <class Action>
  std::string error_of(Exit exit, const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.exit()), static_cast<int>(exit)) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
  std::string results() const { return path + "/results.jsonl"; }
  void two_units() {
    RunFolder folder = open();
    folder.add(record(0), scores(1));
    folder.add(record(1), scores(2));
  }

  test::TempDir temp;
  std::string path = temp / "run";
  std::vector<std::string> notes;
};

TEST_F(RunFolderTest, KeepsUnitsBitForBit) {
  two_units();
  const RunFolder folder = open();
  ASSERT_EQ(folder.size(), 2u);
  const WindowRecord* found = folder.find_window(window_key("streamed", 1, "int@1:k4v4"));
  ASSERT_NE(found, nullptr);
  WindowRecord expected = record(1);
  expected.positions_file = found->positions_file;
  expected.positions_sha256 = found->positions_sha256;
  EXPECT_EQ(to_json(*found), to_json(expected));
  const PositionScores read = folder.positions(*found);
  EXPECT_EQ(read.nll, scores(2).nll);
  EXPECT_EQ(read.kl, scores(2).kl);
  EXPECT_EQ(read.same_top, scores(2).same_top);
  EXPECT_EQ(found->same_top, 5);
  EXPECT_EQ(folder.find_window(window_key("all", 1, "int@1:k4v4")), nullptr);
  EXPECT_TRUE(notes.empty());
}

TEST_F(RunFolderTest, KeepsWhatIsNotFinite) {
  WindowRecord out = record(0);
  out.nll_mean = std::numeric_limits<double>::quiet_NaN();
  out.kl_max = -std::numeric_limits<double>::infinity();
  out.kl_mean = -0.0;
  const Json json = to_json(out);
  EXPECT_TRUE(json.at("nll_mean").at("value").is_null());
  EXPECT_EQ(json.at("nll_mean").at("class"), "nan");
  EXPECT_EQ(json.at("kl_max").at("class"), "-inf");
  const WindowRecord back = parse_window_record(Json::parse(json.dump()));
  EXPECT_TRUE(std::isnan(back.nll_mean));
  EXPECT_EQ(back.kl_max, out.kl_max);
  EXPECT_TRUE(std::signbit(back.kl_mean));
}

// Every cut inside the last line leaves the first; the torn rest is gone from the file.
TEST_F(RunFolderTest, CutsOffATornLastLine) {
  two_units();
  const std::string whole = read_file(results());
  const size_t first = whole.find('\n') + 1;
  for (const size_t size : {first + 1, first + 40, whole.size() - 2, whole.size() - 1}) {
    fs::resize_file(results(), size);
    notes.clear();
    {
      RunFolder folder = open();
      EXPECT_EQ(folder.size(), 1u);
      ASSERT_EQ(notes.size(), 1u);
      EXPECT_NE(notes.front().find("line 2 was torn"), std::string::npos) << notes.front();
      EXPECT_EQ(fs::file_size(results()), first);
      folder.add(record(1), scores(2));
    }
    EXPECT_EQ(read_file(results()), whole);
  }
}

TEST_F(RunFolderTest, RefusesADamagedLineInTheMiddle) {
  two_units();
  std::string text = read_file(results());
  text[10] = '}';
  test::write_file(results(), text);
  const std::string message = error_of(Exit::kEnvironment, [&] { open(); });
  EXPECT_NE(message.find("results.jsonl: line 1"), std::string::npos) << message;
  EXPECT_EQ(read_file(results()), text);
}

TEST_F(RunFolderTest, RefusesAChangedSideFile) {
  two_units();
  const RunFolder folder = open();
  const WindowRecord* found = folder.find_window(window_key("streamed", 0, "int@1:k4v4"));
  const std::string side = path + "/" + found->positions_file;
  std::string bytes = read_file(side);
  bytes[3] = static_cast<char>(bytes[3] ^ 1);
  test::write_file(side, bytes);
  const std::string message = error_of(Exit::kEnvironment, [&] { (void)folder.positions(*found); });
  EXPECT_NE(message.find(found->positions_file), std::string::npos) << message;
}

TEST_F(RunFolderTest, RefusesAnotherMeasurement) {
  two_units();
  const std::string before = read_file(path + "/run.json");
  const std::string message = error_of(Exit::kUsage, [&] { open(header(16)); });
  EXPECT_NE(message.find("tasks.ppl.length is 8 there and 16 now"), std::string::npos) << message;
  EXPECT_EQ(read_file(path + "/run.json"), before);
}

TEST_F(RunFolderTest, RefusesAnotherVersionOfAScheme) {
  two_units();
  const std::string message = error_of(Exit::kUsage, [&] { open(header(8, {"int@2:k4v4"})); });
  EXPECT_NE(message.find("int@1:k4v4 there and int@2:k4v4 now"), std::string::npos) << message;
}

TEST_F(RunFolderTest, GrowsBySchemesAndWindows) {
  two_units();
  open(header(8, {"kivi@1:k2v2", "int@1:k4v4"}, 5));
  const Json run = Json::parse(read_file(path + "/run.json"));
  EXPECT_EQ(run.at("schemes"), Json({"int@1:k4v4", "kivi@1:k2v2"}));
  EXPECT_EQ(run.at("measured").at("ppl").at("windows"), 5);
  open(header(8, {"fp@1:f16"}, 1));
  EXPECT_EQ(Json::parse(read_file(path + "/run.json")).at("measured").at("ppl").at("windows"), 5);
}

TEST_F(RunFolderTest, OneProcessAtATime) {
  const RunFolder folder = open();
  const std::string message = error_of(Exit::kEnvironment, [&] { open(); });
  EXPECT_NE(message.find("in use by process " + std::to_string(getpid())), std::string::npos)
      << message;
}

TEST_F(RunFolderTest, IsFreeAgainAfterAnError) {
  two_units();
  error_of(Exit::kUsage, [&] { open(header(16)); });
  EXPECT_EQ(open().size(), 2u);
}

TEST_F(RunFolderTest, RefusesAFolderOfOtherThings) {
  fs::create_directories(path);
  test::write_file(path + "/thesis.tex", "x");
  const std::string message = error_of(Exit::kUsage, [&] { open(); });
  EXPECT_NE(message.find("holds thesis.tex but no run.json"), std::string::npos) << message;
  EXPECT_EQ(std::distance(fs::directory_iterator(path), fs::directory_iterator()), 1);
}

TEST_F(RunFolderTest, NamesAPathThatCannotBeWritten) {
  test::write_file(path, "a file");
  error_of(Exit::kUsage, [&] { open(); });
  path += "/below";
  const std::string message = error_of(Exit::kNotSaved, [&] { open(); });
  EXPECT_NE(message.find(path), std::string::npos) << message;
}

TEST_F(RunFolderTest, RemovesWhatAKilledWriterLeft) {
  two_units();
  test::write_file(path + "/positions/x.f64.77.tmp", "half");
  test::write_file(path + "/table.csv.77.tmp", "half");
  open();
  EXPECT_FALSE(fs::exists(path + "/positions/x.f64.77.tmp"));
  EXPECT_FALSE(fs::exists(path + "/table.csv.77.tmp"));
}

TEST(WriteFile, ReplacesInOneStep) {
  test::TempDir temp;
  write_file(temp / "a", "one");
  write_file(temp / "a", "two");
  EXPECT_EQ(read_file(temp / "a"), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(temp.path()), fs::directory_iterator()), 1);
}

TEST(SchemeLabel, DropsTheVersionAlone) {
  EXPECT_EQ(scheme_label("kivi@12:k2v2,r32"), "kivi:k2v2,r32");
  EXPECT_EQ(scheme_label("kivi@1"), "kivi");
  EXPECT_EQ(scheme_label("kivi:x=a@b"), "kivi:x=a@b");
}

}  // namespace
}  // namespace kvx::eval
