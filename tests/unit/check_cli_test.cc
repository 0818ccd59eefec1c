// `kvx check` as a user runs it, on the backend that every machine has.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace kvx {
namespace {

using test::kvx_run;
using test::Outcome;

std::vector<std::string> words(std::vector<std::string> more) {
  std::vector<std::string> all = {"check", "--backend", "cpu", "--inputs", KVX_INPUTS, "--quiet"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Check, AFewCasesAreEqualAndReportedThreeWays) {
  const test::TempDir folder;
  const std::string junit = folder / "check.xml";
  const Outcome run = kvx_run(
      words({"--set", "smoke", "--filter", "fp8/non*", "--junit", junit, "--threads", "2"}));
  EXPECT_EQ(run.code, 0) << run.out << run.err;
  EXPECT_NE(run.out.find("MISTRUSTED"), std::string::npos);
  EXPECT_NE(run.err.find("equal: 8 cases"), std::string::npos) << run.err;
  const std::string xml = test::read_file(junit);
  EXPECT_EQ(xml.rfind("<?xml", 0), 0u);
  const auto count = [&](const std::string& word) {
    size_t n = 0;
    for (size_t at = xml.find(word); at != xml.npos; at = xml.find(word, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<testcase "), 8u);
  EXPECT_EQ(count("<testsuite "), 1u);
  EXPECT_EQ(count("</testsuite>"), 1u);
  EXPECT_NE(xml.find("tests=\"8\" failures=\"0\""), std::string::npos);
  const Outcome json = kvx_run(words({"--set", "smoke", "--filter", "fp8/non*", "--json"}));
  EXPECT_TRUE(nlohmann::json::parse(json.out)["good"].get<bool>());
}

TEST(Check, ACaseByTextAndByFile) {
  const test::TempDir folder;
  const std::string text = "scheme=kivi:k2v2,r32 heads=2/1 steps=33,1";
  EXPECT_EQ(kvx_run(words({"--case", text})).code, 0);
  test::write_file(folder / "one.json",
                   R"({"case": {"scheme": "kivi:k2v2,r32", "heads": "2/1", "steps": "33,1"}})");
  EXPECT_EQ(kvx_run(words({"--case", folder / "one.json"})).code, 0);
  EXPECT_EQ(kvx_run(words({"--case", folder / "none.json"})).code, 3);
}

TEST(Check, AnEmptySelectionIsAVerdict) {
  EXPECT_EQ(kvx_run(words({"--filter", "no such case"})).code, 1);
  EXPECT_EQ(kvx_run(words({"--filter", "no such case", "--dry-run"})).code, 1);
}

TEST(Check, ListAndDryRunJudgeNothing) {
  const Outcome list = kvx_run(words({"--list", "--filter", "ggml/refused"}));
  EXPECT_EQ(list.code, 0);
  EXPECT_NE(list.out.find("ggml/refused/0  scheme=ggml:q8_0 heads="), std::string::npos)
      << list.out;
  const Outcome dry = kvx_run(words({"--dry-run", "--filter", "ggml/refused"}));
  EXPECT_EQ(dry.code, 0);
  EXPECT_NE(dry.out.find("24  cases"), std::string::npos) << dry.out;
  EXPECT_TRUE(dry.err.empty()) << dry.err;
}

TEST(Check, ArithmeticFixedHasItsOwnCases) {
  const Outcome run = kvx_run(words(
      {"--arithmetic", "fixed", "--set", "smoke", "--filter", "kivi/fixed-r*", "--threads", "2"}));
  EXPECT_EQ(run.code, 0) << run.out << run.err;
  EXPECT_NE(run.err.find("equal: 3 cases"), std::string::npos) << run.err;
  const Outcome list = kvx_run(words({"--arithmetic", "fixed", "--list"}));
  EXPECT_NE(list.out.find("int/fixed-widths/0  scheme=int:"), std::string::npos);
  EXPECT_EQ(list.out.find("fp8"), std::string::npos);
  EXPECT_EQ(kvx_run(words({"--list"})).out.find("fixed"), std::string::npos);

  const Outcome random = kvx_run(words({"--arithmetic", "fixed", "--seconds", "1", "--seed", "3"}));
  EXPECT_EQ(random.code, 0) << random.out << random.err;
  const Outcome none = kvx_run(words({"--arithmetic", "fixed", "--filter", "fp8"}));
  EXPECT_EQ(none.code, 2);
  EXPECT_EQ(none.err,
            "kvx: --arithmetic fixed: no case matches --filter fp8; without it are fp, fp8, ggml, "
            "kvquant\n");
  const Outcome one = kvx_run(words({"--case", "scheme=fp8:e4m3 steps=3 arithmetic=fixed"}));
  EXPECT_EQ(one.code, 2);
  EXPECT_NE(one.err.find("fp8:e4m3 has no arithmetic fixed"), std::string::npos) << one.err;
  EXPECT_EQ(kvx_run(words({"--arithmetic", "fixed", "--case", "scheme=int:k4v4 steps=3"})).code, 2);
  EXPECT_EQ(kvx_run(words({"--case", "scheme=int:k4v4 steps=3 arithmetic=float"})).code, 2);
}

TEST(Check, RandomCasesPrintTheirSeed) {
  const Outcome run =
      kvx_run(words({"--seconds", "1", "--seed", "17", "--threads", "2", "--filter", "int"}));
  EXPECT_EQ(run.code, 0) << run.out << run.err;
  EXPECT_NE(run.err.find("seed 17"), std::string::npos);
}

// Without a device the reason is told; with one, a scheme without kernels is told and is no pass.
TEST(Check, ABackendThatIsNotHereIsNoPass) {
  const Outcome run = kvx_run({"check", "--case", "scheme=fp:f16 steps=3", "--quiet"});
  if (run.code == 3) {
    EXPECT_NE(run.err.find("backend cuda: "), std::string::npos) << run.err;
  } else {
    EXPECT_NE(run.out.find("fp"), std::string::npos) << run.out;
  }
}

TEST(Check, UsageErrors) {
  EXPECT_EQ(kvx_run(words({"--backend", "cpu"})).code, 2);  // twice
  EXPECT_EQ(kvx_run({"check", "--backend", "abacus"}).code, 2);
  EXPECT_EQ(kvx_run(words({"--seed", "3"})).code, 2);
  EXPECT_EQ(kvx_run(words({"--case", "scheme=int:k4v4"})).code, 2);
  EXPECT_EQ(kvx_run(words({"--case", "scheme=intt:k4v4 steps=3"})).code, 2);
  EXPECT_EQ(kvx_run({"check", "--backend", "cpu", "--inputs", "/nowhere"}).code, 3);
}

}  // namespace
}  // namespace kvx
