// Cases as text and files, families, selection, random cases, the shrinker.
#include <gtest/gtest.h>

#include "eval/check/case.h"
#include "eval/check/check.h"
#include "eval/check/fuzz.h"
#include "eval/check/shrink.h"
#include "sim/api/error.h"
#include "tests/support/temp_dir.h"

namespace kvx::check {
namespace {

std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Steps, RoundTrip) {
  for (const char* text : {"1", "254,1x4,fork,cut3,settle,7", "3x2,3,fork,fork"}) {
    const std::vector<Step> steps = parse_steps(text);
    EXPECT_EQ(parse_steps(steps_text(steps)), steps) << text;
  }
  EXPECT_EQ(steps_text(parse_steps("5,5,5,1")), "5x3,1");
}

TEST(Steps, LettersStandForGroupAndWindow) {
  EXPECT_EQ(steps_text(parse_steps("g-1,1x2,2r+3,r", {32, 128})), "31,1x2,259,128");
  EXPECT_EQ(steps_text(parse_steps("cutg", {16, 0})), "cut16");
}

TEST(Steps, ErrorsNameTheWord) {
  for (const char* text : {"x", "3y", "2r*1", "1x0", "-4", "cut"})
    EXPECT_NE(message([&] { parse_steps(text); }).find("steps="), std::string::npos) << text;
}

TEST(CaseText, RoundTripsWithEveryKeySet) {
  const char* text =
      "scheme=int:k4v4 heads=8/2 dim=128 k=ties v=heavy q=zeros seed=7 steps=31,1x2,fork,3 batch=2 "
      "windows=none nonfinite=propagate arithmetic=fixed inspect=each attend=each";
  EXPECT_EQ(case_text(parse_case(text)), text);
  const char* plain = "scheme=fp:f16 heads=2/1 dim=64 seed=1 steps=5";
  EXPECT_EQ(case_text(parse_case(plain)), plain);
}

TEST(CaseText, ErrorsNameKeyAndValue) {
  const auto refused = [](const std::string& more, const std::string& what) {
    const std::string found = message([&] { parse_case("scheme=fp:f16 steps=3 " + more); });
    EXPECT_NE(found.find(what), std::string::npos) << more << ": " << found;
  };
  refused("heads=5/2", "heads=5/2");
  refused("dim=none", "dim=none");
  refused("windows=all", "windows=all");
  refused("colour=red", "'colour'");
  refused("k=strange", "'strange'");
  refused("word", "'word'");
  EXPECT_NE(message([] { parse_case("steps=3"); }).find("scheme"), std::string::npos);
  EXPECT_NE(message([] { parse_case("scheme=fp:f16"); }).find("steps"), std::string::npos);
}

TEST(CaseFile, RoundTripsAndRefusesOtherFiles) {
  const test::TempDir folder;
  const Case one = parse_case("scheme=kivi:k2v2 heads=4/2 dim=64 k=zeros seed=9 steps=33,1");
  write_case(folder / "one.json", one, "E0 differs");
  EXPECT_EQ(case_text(read_case(folder / "one.json")), case_text(one));
  test::write_file(folder / "two.json", "{\"case\": {\"scheme\": 3}}");
  EXPECT_NE(message([&] { read_case(folder / "two.json"); }).find("two.json"), std::string::npos);
}

constexpr const char* kFamilies = R"({
  "scheme": "int", "events": ["tie"],
  "families": [
    {"name": "grid", "descriptors": ["int:k{2,4}v4,g32"], "steps": ["g-1", "g", "2g+1"], "dims": [64, 16],
     "fills": ["ties/normal"], "product": ["descriptors", "steps"], "repeat": 4, "smoke": 3}
  ]})";

TEST(Families, AreTheProductWithoutWhatTheSchemeRefuses) {
  const std::vector<Family> families = parse_families(kFamilies, "here");
  ASSERT_EQ(families.size(), 1u);
  const Family& family = families[0];
  EXPECT_EQ(family.name, "int/grid");
  EXPECT_GT(family.cases.size(), 0u);
  EXPECT_LT(family.cases.size(), 24u);  // g = 32 does not divide 16
  for (const Case& one : family.cases) {
    EXPECT_EQ(one.dim, 64);
    EXPECT_EQ(one.k, gen::Fill::kTies);
    EXPECT_EQ(one.v, gen::Fill::kNormal);
  }
  EXPECT_EQ(family.smoke.size(), 3u);
  EXPECT_EQ(parse_families(kFamilies, "here")[0].cases, family.cases);
}

TEST(Families, ErrorsNameFileFamilyAndKey) {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& what) {
    std::string text = kFamilies;
    text.replace(text.find(from), from.size(), to);
    const std::string found = message([&] { parse_families(text, "some.json"); });
    EXPECT_NE(found.find("some.json"), std::string::npos) << found;
    EXPECT_NE(found.find(what), std::string::npos) << found;
  };
  refused("\"dims\"", "\"dimensions\"", "dimensions");
  refused("\"tie\"", "\"tied\"", "tied");
  refused("ties/normal", "tied/normal", "tied");
  refused("\"product\": [\"descriptors\"", "\"product\": [\"heads\"", "heads");
  refused("int:k{2,4}", "int:k{2,9}", "int/grid");
}

TEST(Families, OfTheRepositoryAreTenThousandCasesWithDistinctNames) {
  size_t cases = 0, smoke = 0, longest = 0;
  std::set<std::string> names;
  for (const Family& family : read_families(KVX_INPUTS)) {
    cases += family.cases.size();
    smoke += family.smoke.size();
    for (const Case& one : family.cases) {
      names.insert(one.name);
      longest += one.tokens() >= 40000 ? 1 : 0;
      EXPECT_EQ(case_text(parse_case(case_text(one))), case_text(one));
    }
  }
  EXPECT_GE(cases, 10000u);
  EXPECT_EQ(names.size(), cases);
  EXPECT_GE(longest, 5u);
  EXPECT_GT(smoke, 200u);
  EXPECT_LT(smoke, 700u);
}

// What the page of arithmetic `fixed` lets a kernel get: every pair of widths, group, window, head
// layout and number of query tokens.
TEST(Families, InFixedCoverEveryShape) {
  std::set<std::string> widths, heads;
  std::set<int64_t> groups, windows, queries;
  size_t cases = 0, smoke = 0, longest = 0;
  for (const Family& family : read_families(KVX_INPUTS, Arithmetic::kFixed)) {
    cases += family.cases.size();
    smoke += family.smoke.size();
    for (const Case& one : family.cases) {
      ASSERT_EQ(one.arithmetic, Arithmetic::kFixed);
      EXPECT_EQ(case_text(parse_case(case_text(one))), case_text(one));
      const Descriptor scheme = Descriptor::parse(one.scheme);
      const bool kivi = scheme.name() == "kivi";
      widths.insert((kivi ? "kivi " : "int ") + std::to_string(scheme.get_int("k")) +
                    std::to_string(scheme.get_int("v")));
      heads.insert(std::to_string(one.q_heads) + "/" + std::to_string(one.kv_heads));
      if (kivi || scheme.get_word("kaxis") == "channel")
        groups.insert(scheme.find_int("g").value_or(32));
      if (kivi) windows.insert(scheme.get_int("r"));
      for (size_t i = one.steps.size(); i-- > 0;) {  // of the last append
        if (one.steps[i].kind != Step::kAppend) continue;
        queries.insert(one.steps[i].count);
        break;
      }
      longest = std::max(longest, static_cast<size_t>(one.tokens()));
    }
  }
  EXPECT_EQ(widths.size(), 16u + 9u);
  for (const char* layout : {"32/32", "32/8", "28/4", "14/2", "9/3"})
    EXPECT_TRUE(heads.contains(layout)) << layout;
  for (const int64_t count : {1, 2, 3, 4, 8}) EXPECT_TRUE(queries.contains(count)) << count;
  for (const int64_t g : {32, 64, 128}) EXPECT_TRUE(groups.contains(g)) << g;
  for (const int64_t r : {0, 32, 128}) EXPECT_TRUE(windows.contains(r)) << r;
  EXPECT_GT(longest, 2u * 8192u);
  EXPECT_GT(cases, 1000u);
  EXPECT_LT(smoke, 80u);
}

TEST(Selection, ByGlobByTextAndBySet) {
  const std::vector<Family> all = parse_families(kFamilies, "here");
  EXPECT_EQ(select(all, {.smoke = true, .filter = ""})[0].cases.size(), 3u);
  EXPECT_EQ(select(all, {.smoke = false, .filter = "int/grid/0"})[0].cases.size(), 1u);
  EXPECT_EQ(select(all, {.smoke = false, .filter = "int/*/?"})[0].cases.size(),
            std::min<size_t>(10, all[0].cases.size()));
  EXPECT_EQ(select(all, {.smoke = false, .filter = "k2v4"})[0].cases[0].scheme, "int:k2v4,g32");
  EXPECT_TRUE(select(all, {.smoke = false, .filter = "kivi"}).empty());
}

TEST(Fuzz, CasesAreFunctionsOfSeedAndIndex) {
  const auto any = [](std::string_view) { return true; };
  std::set<std::string> schemes, texts;
  for (uint64_t i = 0; i < 200; ++i) {
    const Case one = fuzz_case(5, i, any);
    EXPECT_EQ(one, fuzz_case(5, i, any));
    EXPECT_EQ(case_text(parse_case(case_text(one))), case_text(one));
    schemes.insert(one.scheme.substr(0, one.scheme.find(':')));
    texts.insert(case_text(one));
  }
  EXPECT_EQ(schemes.size(), kvx::schemes().size());
  EXPECT_GT(texts.size(), 195u);
  EXPECT_NE(fuzz_case(5, 0, any), fuzz_case(6, 0, any));
}

TEST(Shrink, FindsTheSmallestCaseThatStillFails) {
  const Case big = parse_case(
      "scheme=int:k4v4 heads=8/4 dim=128 k=ties v=heavy q=zeros seed=7 steps=200,1x4,fork,30 "
      "batch=3 "
      "inspect=each attend=each");
  const Case small = shrink(
      big, [](const Case& one) { return one.tokens() >= 17 && one.kv_heads >= 2; }, 5);
  EXPECT_EQ(small.tokens(), 17);
  EXPECT_EQ(small.steps.size(), 1u);
  EXPECT_EQ(small.kv_heads, 2);
  EXPECT_EQ(small.q_heads, 2);
  EXPECT_EQ(small.batch, 1);
  EXPECT_EQ(small.dim, 32);
  EXPECT_EQ(small.k, gen::Fill::kNormal);
  EXPECT_FALSE(small.inspect_each);
}

TEST(Shrink, StopsWhenTheTimeIsUp) {
  const Case big = parse_case("scheme=int:k4v4 heads=8/4 dim=128 steps=200,1x4");
  EXPECT_EQ(shrink(
                big, [](const Case&) { return true; }, 0),
            big);
}

}  // namespace
}  // namespace kvx::check
