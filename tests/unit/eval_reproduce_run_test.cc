// `kvx reproduce` on a small seeded model with a recipe made for it: schemes int and kivi, and one
// that is calibrated.
#include <gtest/gtest.h>

#include <filesystem>

#include "eval/number.h"
#include "eval/reproduce/metric.h"
#include "tests/support/eval_sweep.h"
#include "tests/support/program.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using eval::Json;
using eval::parse_exact_number;
using test::Outcome;
using test::read_file;
using test::Words;

const char* const kRecipe = R"({
  "schema": "kvx-recipe/1", "name": "small", "title": "Integers | and KIVI",
  "paper": {"citation": "Nobody et al.", "arxiv": "0000.00000", "sections": "Table 1"},
  "notes": ["A note."],
  "protocol": {"tasks": ["ppl", "error"], "modes": ["all"], "length": 64, "windows": 7,
               "error_windows": 6},
  "calibrations": [
    {"name": "scales", "scheme": "fp8:e4m3,scale=tensor", "samples": 2, "length": 64},
    {"name": "heads", "scheme": "fp8:e4m3,scale=head", "samples": 2, "length": 64}],
  "tables": [{"title": "Rows", "note": "All of them.",
    "columns": [{"id": "big", "title": "Big model", "reference": "Table 1"}],
    "metrics": ["ppl/all", "kl/all", "error.k/all"],
    "rows": [{"id": "8 bits", "scheme": "int:k8v8", "bits": "8", "paper": {"big": 5.25}},
             {"id": "2 bits", "scheme": "int:k2v2",
              "paper": {"big": {"value": 7.5, "reference": "Table 9"}}},
             {"id": "KIVI", "scheme": "kivi:k2v2,r32"},
             {"id": "fp8", "scheme": "fp8:e4m3,scale=tensor,cal=@scales"},
             {"id": "fp8 by head", "scheme": "fp8:e4m3,scale=head,cal=@heads"}]}],
  "claims": [
    {"claim": "ordering", "text": "8 bits beat 2", "reference": "Table 1", "metric": "kl/all",
     "better": "8 bits", "worse": "2 bits"},
    {"claim": "ordering", "text": "2 bits beat 8", "reference": "Table 1", "metric": "error.k/all",
     "better": "2 bits", "worse": "8 bits"},
    {"claim": "bound", "text": "8 bits lose little", "reference": "Table 1", "metric": "kl/all",
     "row": "8 bits", "absolute": 1000},
    {"claim": "ladder", "text": "2, 8 bits, nothing lost", "reference": "Table 1",
     "metric": "kl/all", "rows": ["2 bits", "8 bits", "fp:f32"]}]})";

class Reproduce : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new test::Sweep(KVX_PROGRAM);
    folder_ = new test::TempDir;
    test::write_file(recipe(), kRecipe);
    test::write_file(calibration(), test::Sweep::text(7));
    first_ = new Outcome(run(*folder_ / "run"));
    ASSERT_EQ(first_->code, 0) << first_->err;
  }
  static void TearDownTestSuite() {
    delete sweep_;
    delete folder_;
    delete first_;
  }

  static std::string recipe() { return *folder_ / "small.json"; }
  static std::string calibration() { return *folder_ / "calibration.txt"; }
  static Outcome run(const std::string& out, const Words& more = {}) {
    return run_with(calibration(), out, more);
  }
  static Outcome run_with(const std::string& calibration_data, const std::string& out,
                          const Words& more = {}) {
    Words words{"reproduce",          recipe(),        "--model", sweep_->model(), "--data",
                sweep_->data(),       "--threads",     "1",       "--out",         out,
                "--calibration-data", calibration_data};
    words.insert(words.end(), more.begin(), more.end());
    return test::kvx_run(words);
  }
  static Json result(const std::string& out) {
    return Json::parse(read_file(out + "/reproduce.json"));
  }

  static test::Sweep* sweep_;
  static test::TempDir* folder_;
  static Outcome* first_;
};
test::Sweep* Reproduce::sweep_ = nullptr;
test::TempDir* Reproduce::folder_ = nullptr;
Outcome* Reproduce::first_ = nullptr;

TEST_F(Reproduce, PutsOurNumbersBesideThePapers) {
  const Json json = result(*folder_ / "run");
  EXPECT_EQ(json.at("schema"), "kvx-reproduce/1");
  EXPECT_EQ(json.at("protocol").at("windows"), 7);
  const Json& rows = json.at("tables").at(0).at("rows");
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].at("scheme"), "int:k8v8");
  EXPECT_EQ(rows[0].at("paper").at("big").at("value"), 5.25);
  EXPECT_EQ(rows[0].at("paper").at("big").at("reference"), "Table 1");
  EXPECT_EQ(rows[1].at("paper").at("big").at("reference"), "Table 9");
  EXPECT_TRUE(rows[2].at("paper").empty());
  // 8 bits, and an fp16 scale and zero for each row of 32 channels.
  EXPECT_EQ(rows[0].at("bits_per_value").at("kv"), 9.0);
  for (const std::string& file :
       {std::string("reproduce.md"), std::string("page/reproduce.html")}) {
    const std::string text = read_file(*folder_ / ("run/" + file));
    for (const char* word : {"A note.", "All of them.", "5.25", "7.5 (Table 9)", "int:k8v8",
                             "8 bits beat 2", "not held", "Table 1"})
      EXPECT_NE(text.find(word), std::string::npos) << file << ": " << word;
  }
  EXPECT_TRUE(fs::exists(*folder_ / "run/page/index.html"));
  EXPECT_TRUE(fs::exists(*folder_ / "run/page/scheme-int-k8v8.html"));
  EXPECT_NE(first_->out.find("8 bits beat 2"), std::string::npos);
}

// Means over the lines of results.jsonl.
TEST_F(Reproduce, ItsNumbersAreThoseOfTheRunFolder) {
  double ppl = 0, kl = 0, base = 0, error = 0;
  for (const auto& [key, unit] : test::units_of(*folder_ / "run")) {
    const std::string scheme = unit.at("scheme"), task = unit.at("task");
    if (task == "ppl@1" && scheme == "int@1:k2v2") {
      ppl += parse_exact_number(unit.at("nll_mean")) / 7;
      kl += parse_exact_number(unit.at("kl_mean")) / 7;
    }
    if (task == "ppl@1" && scheme == "fp@1:f32")
      base += parse_exact_number(unit.at("nll_mean")) / 7;
    if (task == "error@1" && scheme == "int@1:k2v2")
      for (const Json& layer : unit.at("layers")) error += parse_exact_number(layer.at("k")) / 12;
  }
  const Json measured = result(*folder_ / "run").at("tables").at(0).at("rows").at(1).at("measured");
  const auto value = [&measured](const char* metric, const char* name) {
    return parse_exact_number(measured.at(metric).at(name));
  };
  EXPECT_NEAR(value("ppl/all", "value"), std::exp(ppl), 1e-9 * std::exp(ppl));
  EXPECT_NEAR(value("ppl/all", "delta"), std::exp(ppl) - std::exp(base), 1e-9 * std::exp(ppl));
  EXPECT_NEAR(value("kl/all", "value"), kl, 1e-12);
  EXPECT_NEAR(value("error.k/all", "value"), error, 1e-12);
}

TEST_F(Reproduce, JudgesTheClaims) {
  const Json claims = result(*folder_ / "run").at("claims");
  ASSERT_EQ(claims.size(), 4u);
  const char* const verdicts[] = {"held", "not held", "held", "held"};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(claims[i].at("verdict"), verdicts[i]) << i;
  ASSERT_EQ(claims[3].at("steps").size(), 2u);
  EXPECT_EQ(claims[3].at("steps").at(1).at("subject"), "fp:f32");
  EXPECT_EQ(claims[3].at("steps").at(1).at("base"), "8 bits");
  EXPECT_EQ(claims[1].at("steps").at(0).at("windows"), 6);
  EXPECT_NE(first_->err.find("4 claims: 3 held, 1 not held, 0 not distinguishable"),
            std::string::npos)
      << first_->err;
}

TEST_F(Reproduce, StrictSaysSoInTheExitCode) {
  EXPECT_EQ(run(*folder_ / "run", {"--strict"}).code, 1);
  const Outcome one_window =
      run(*folder_ / "one", {"--strict", "--windows", "1", "--error-windows", "1"});
  EXPECT_EQ(one_window.code, 0) << one_window.err;
  EXPECT_EQ(result(*folder_ / "one").at("verdicts").at("not_distinguishable"), 4);
}

// Every row fits a real shape, and the artifacts that a row names are those it takes.
TEST_F(Reproduce, RunsTheShippedRecipes) {
  for (const std::string name : {"kivi", "kvquant"}) {
    const std::string out = *folder_ / name;
    const Outcome outcome = test::kvx_run({"reproduce",
                                           name,
                                           "--model",
                                           sweep_->model(),
                                           "--data",
                                           sweep_->data(),
                                           "--length",
                                           "64",
                                           "--windows",
                                           "2",
                                           "--calibration-data",
                                           calibration(),
                                           "--calibration-samples",
                                           "1",
                                           "--calibration-together",
                                           "8",
                                           "--out",
                                           out,
                                           "--threads",
                                           "2"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    for (const Json& table : result(out).at("tables"))
      for (const Json& row : table.at("rows")) {
        EXPECT_GT(row.at("bits_per_value").at("kv"), 1.9) << row.at("id");
        for (const auto& [metric, measured] : row.at("measured").items())
          EXPECT_TRUE(std::isfinite(parse_exact_number(measured.at("value")))) << row.at("id");
      }
  }
}

// Nothing is measured or calibrated again, and fewer windows are the first of them.
TEST_F(Reproduce, ContinuesItsFolder) {
  const std::string out = *folder_ / "run";
  const int64_t lines = test::line_count(out);
  const Json before = result(out);
  const Outcome again = run(out);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(test::line_count(out), lines);
  EXPECT_NE(again.err.find("calibrated before: fp8:e4m3,scale=tensor,cal=#"), std::string::npos);
  EXPECT_EQ(again.err.find("calibrating"), std::string::npos) << again.err;
  EXPECT_EQ(result(out), before);

  const Outcome fewer = run(out, {"--windows", "2", "--json"});
  ASSERT_EQ(fewer.code, 0) << fewer.err;
  EXPECT_EQ(test::line_count(out), lines);
  const Json json = Json::parse(fewer.out);
  EXPECT_EQ(json, result(out));
  EXPECT_EQ(json.at("claims").at(0).at("steps").at(0).at("windows"), 2);
  ASSERT_EQ(run(*folder_ / "two", {"--windows", "2"}).code, 0);
  EXPECT_EQ(result(*folder_ / "two").at("tables"), json.at("tables"));
  ASSERT_EQ(run(out).code, 0);
}

// The same file as by `kvx calibrate`, named by its hash.
TEST_F(Reproduce, CalibratesAsKvxCalibrate) {
  for (const std::string scheme : {"fp8:e4m3,scale=tensor", "fp8:e4m3,scale=head"}) {
    const std::string file = *folder_ / "alone.safetensors";
    const Outcome alone =
        test::kvx_run({"calibrate", "--scheme", scheme, "--model", sweep_->model(), "--data",
                       calibration(), "--samples", "2", "--length", "64", "--out", file});
    ASSERT_EQ(alone.code, 0) << alone.err;
    const std::string descriptor = alone.out.substr(0, alone.out.find('\n'));
    const std::string hash = descriptor.substr(descriptor.find('#') + 1);
    EXPECT_EQ(read_file(*folder_ / ("run/artifacts/artifact-" + hash + ".safetensors")),
              read_file(file));
    const Json rows = result(*folder_ / "run").at("tables").at(0).at("rows");
    EXPECT_EQ(rows.at(scheme.ends_with("head") ? 4 : 3).at("scheme"), descriptor);
  }
  ASSERT_EQ(run(*folder_ / "apart", {"--calibration-together", "1"}).code, 0);
  EXPECT_EQ(result(*folder_ / "apart"), result(*folder_ / "run"));
}

TEST_F(Reproduce, OtherCalibrationTextMakesOtherArtifacts) {
  const std::string other = *folder_ / "other.txt";
  test::write_file(other, test::Sweep::text(99));
  const std::string out = *folder_ / "recalibrated";
  ASSERT_EQ(run(out).code, 0);
  const auto count = [&out] {
    return std::distance(fs::directory_iterator(out + "/artifacts"), fs::directory_iterator{});
  };
  EXPECT_EQ(count(), 2);
  ASSERT_EQ(run_with(other, out).code, 0);
  EXPECT_EQ(count(), 4);
}

TEST_F(Reproduce, ADryRunShowsTheWorkAndDoesNone) {
  const Outcome outcome = test::kvx_run({"reproduce", recipe(), "--dry-run"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* word :
       {"calibrate @scales: fp8:e4m3,scale=tensor on 2 windows of 64",
        "fp8:e4m3,scale=tensor,cal=@scales", "5 schemes and fp:f32", "42 passes", "36 units"})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word << "\n" << outcome.out;
}

TEST_F(Reproduce, ListsTheShippedRecipes) {
  const Outcome outcome = test::kvx_run({"reproduce", "--list"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* word : {"kivi", "2402.02750", "kvquant", "2401.18079"})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
}

TEST_F(Reproduce, RefusesWhatIsMissingOrWrong) {
  struct Wrong {
    Words words;
    int code;
    std::string message;
  };
  const std::string model = sweep_->model(), data = sweep_->data(), out = *folder_ / "refused";
  const std::string broken = *folder_ / "broken.json";
  test::write_file(broken, R"({"schema": "kvx-recipe/1", "name": 4})");
  const std::vector<Wrong> all{
      {{}, 2, "needs a recipe"},
      {{"kvqant"}, 2, "did you mean 'kvquant'"},
      {{broken, "--dry-run"}, 3, "field 'name' is"},
      {{recipe(), "--data", data, "--out", out}, 2, "--model"},
      {{recipe(), "--model", model, "--out", out}, 2, "--data"},
      {{recipe(), "--model", model, "--data", data, "--out", out}, 2, "--calibration-data"},
      {{"kivi", "--model", model, "--data", data, "--out", out, "--windows", "0"}, 2, "--windows"},
      {{"kvquant", "--dry-run", "--error-windows", "2"}, 2, "--error-windows"},
      {{recipe(), "--strct"}, 2, "--strict"}};
  for (const Wrong& wrong : all) {
    Words words{"reproduce"};
    words.insert(words.end(), wrong.words.begin(), wrong.words.end());
    const Outcome outcome = test::kvx_run(words);
    EXPECT_EQ(outcome.code, wrong.code) << wrong.message << outcome.err;
    EXPECT_NE(outcome.err.find(wrong.message), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(out));
}

// The fields that the page lists and those that are written.
TEST_F(Reproduce, TheSchemaPageNamesEveryField) {
  const std::string page = read_file(KVX_SCHEMA_PAGE);
  const std::function<void(const Json&, const std::string&)> check = [&](const Json& json,
                                                                         const std::string& path) {
    if (json.is_array())
      for (const Json& entry : json) check(entry, path);
    if (!json.is_object() || path == "identity" || path == "model") return;
    for (const auto& [name, value] : json.items()) {
      if (name == "bits" && json.contains("value")) continue;  // of an exact number
      const bool free = path == "paper_of_row" || path == "measured";
      const bool named = std::ranges::any_of(
          Words{"`" + name + "`", "." + name + "`", "`" + name + "."},
          [&page](const std::string& text) { return page.find(text) != std::string::npos; });
      EXPECT_TRUE(free || named) << path << "." << name;
      check(value, name == "paper" && json.contains("measured") ? "paper_of_row" : name);
    }
  };
  check(result(*folder_ / "run"), "");
}

}  // namespace
}  // namespace kvx
