// `kvx check` on subjects with one bug each: all are caught, at the right level, by the registered
// cases, with a smaller case that fails again; sound ones are not.
#include "tests/self/broken.h"

#include <gtest/gtest.h>

#include <map>

#include "eval/check/report.h"
#include "tests/support/temp_dir.h"

namespace kvx::self {
namespace {

const std::vector<check::Family>& families() {
  static const std::vector<check::Family> kAll = check::read_families(KVX_INPUTS);
  return kAll;
}

// The smoke cases of one family.
std::vector<check::Family> smoke_of(const std::string& family) {
  return check::select(families(), {.smoke = true, .filter = family + "/"});
}

struct Subjects : testing::TestWithParam<Broken> {};
std::string test_name(const testing::TestParamInfo<Broken>& info) {
  std::string name;
  for (const char c : info.param.name)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  return name;
}

using BrokenSubjects = Subjects;
TEST_P(BrokenSubjects, IsCaughtWithASmallerCaseThatFailsAgain) {
  const Broken& broken = GetParam();
  const test::TempDir folder;
  check::CheckOptions options;
  options.shrink_most = 1;
  options.shrink_seconds = 2;
  options.out = folder / "failures";
  const check::Report report = check::run_check(smoke_of(broken.family), broken.subject, options);
  ASSERT_GT(report.mismatches(), 0) << check::report_text(report);
  EXPECT_FALSE(report.good());
  const check::CaseResult* shrunk = nullptr;
  int lowest = check::kLevels;
  for (const check::CaseResult& result : report.cases) {
    for (int level = 0; level < check::kLevels; ++level)
      if (result.judgement.levels[static_cast<size_t>(level)].mismatches > 0)
        lowest = std::min(lowest, level);
    if (result.shrunk) shrunk = &result;
  }
  EXPECT_EQ(lowest, static_cast<int>(broken.level)) << check::report_text(report);
  ASSERT_NE(shrunk, nullptr);
  EXPECT_LE(shrunk->shrunk->tokens() * shrunk->shrunk->kv_heads * shrunk->shrunk->dim,
            shrunk->one.tokens() * shrunk->one.kv_heads * shrunk->one.dim);
  // The saved file is the case, and it fails at the same level.
  const check::Case again = check::read_case(shrunk->file);
  EXPECT_EQ(check::case_text(again), check::case_text(*shrunk->shrunk));
  const check::Judgement judgement = check::judge(again, broken.subject);
  EXPECT_FALSE(judgement.good());
  EXPECT_NE(shrunk->repro.find(shrunk->file), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(, BrokenSubjects, testing::ValuesIn(broken_subjects()), test_name);

using SoundSubjects = Subjects;
TEST_P(SoundSubjects, IsEqual) {
  const check::Report report =
      check::run_check(smoke_of(GetParam().family), GetParam().subject, {});
  EXPECT_TRUE(report.good()) << check::report_text(report);
}
INSTANTIATE_TEST_SUITE_P(, SoundSubjects, testing::ValuesIn(sound_subjects()), test_name);

TEST(Subjects, PoisonThatIsLeftIsNamed) {
  for (const Broken& broken : broken_subjects()) {
    if (broken.name != "LastRowUnwritten") continue;
    const auto report = check::run_check(smoke_of(broken.family), broken.subject, {});
    EXPECT_NE(check::report_text(report).find("never written"), std::string::npos);
  }
}

TEST(Subjects, AreAtLeastTheTwelveOfTheList) { EXPECT_GE(broken_subjects().size(), 12u); }

}  // namespace
}  // namespace kvx::self
