// The judgement: comparison, fences, events, MISTRUSTED, reports, schemes without kernels.
#include <gtest/gtest.h>

#include <bit>

#include "eval/check/check.h"
#include "eval/check/inputs.h"
#include "eval/check/report.h"
#include "sim/api/error.h"

namespace kvx::check {
namespace {

template <class T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// One thing compared.
LevelVerdict compare(Level level, const std::string& dtype, const std::vector<uint32_t>& subject,
                     const std::vector<uint32_t>& reference) {
  Record record;
  record.see(level, "it", dtype, {static_cast<int64_t>(subject.size())}, bytes(subject), "row");
  Comparison comparison(std::move(record));
  comparison.see(level, "it", dtype, {static_cast<int64_t>(reference.size())}, bytes(reference),
                 "row");
  return comparison.finish()[static_cast<size_t>(level)];
}

TEST(Compare, NansAreEqualInValuesAndBitsInContent) {
  const std::vector<uint32_t> a = {0x7FC00000u, 0x3F800000u}, b = {0xFFC00001u, 0x3F800000u};
  EXPECT_EQ(compare(Level::kE1, "F32", a, b).mismatches, 0);
  EXPECT_EQ(compare(Level::kE2, "F32", a, b).mismatches, 0);
  EXPECT_EQ(compare(Level::kE0, "F32", a, b).mismatches, 1);
}

TEST(Compare, ZerosOfOtherSignDiffer) {
  const LevelVerdict verdict =
      compare(Level::kE2, "F32", {0x3F800000u, 0x80000000u}, {0x3F800000u, 0u});
  EXPECT_EQ(verdict.mismatches, 1);
  EXPECT_NE(verdict.first.find("row 1"), std::string::npos) << verdict.first;
  EXPECT_NE(verdict.first.find("0x80000000"), std::string::npos) << verdict.first;
  EXPECT_NE(verdict.first.find("0x00000000"), std::string::npos) << verdict.first;
}

TEST(Compare, PoisonIsNamed) {
  EXPECT_NE(compare(Level::kE1, "F32", {kPoison}, {0}).first.find("never written"),
            std::string::npos);
}

TEST(Compare, ShapesMissingAndExtraThingsCount) {
  EXPECT_EQ(compare(Level::kE0, "I32", {1, 2}, {1}).mismatches, 1);
  Record record;
  record.see_text(Level::kE0, "extra", "fence");
  Comparison comparison(std::move(record));
  comparison.see_text(Level::kE1, "missing", "x");
  const auto verdicts = comparison.finish();
  EXPECT_EQ(verdicts[0].mismatches, 1);
  EXPECT_EQ(verdicts[1].mismatches, 1);
}

TEST(Fences, SeeWritesBesideTheRows) {
  for (const bool padded : {false, true}) {
    FencedRows rows(3, 2, 8, padded);
    for (int64_t t = 0; t < 3; ++t)
      for (int h = 0; h < 2; ++h) std::fill_n(rows.view().row(t, h), 8, 1.0f);
    EXPECT_TRUE(rows.intact());
    EXPECT_EQ(rows.dense(), std::vector<float>(48, 1.0f));
    float* end = rows.view().row(2, 1) + 8;
    const float before = *end;
    *end = 0.0f;
    EXPECT_FALSE(rows.intact());
    *end = before;
    rows.view().row(0, 0)[-1] = 0.0f;
    EXPECT_FALSE(rows.intact());
  }
}

bool shows(const std::string& text, Event event) {
  const Judgement judgement = judge(parse_case(text), cpu_subject());
  EXPECT_TRUE(judgement.good()) << judgement.first();
  return judgement.events.test(static_cast<size_t>(event));
}

TEST(Events, AreFoundWhereTheyAreAndNotElsewhere) {
  const std::string plain = "scheme=int:k4v4 heads=2/2 steps=40 k=normal v=normal";
  for (const Event event : {Event::kConstantGroup, Event::kZeroGroup, Event::kMixedZeros,
                            Event::kFlush, Event::kSubnormalScale, Event::kOverflow,
                            Event::kDecodeSeals, Event::kExactRows, Event::kLateSeal, Event::kBatch,
                            Event::kFork, Event::kCut, Event::kRefused, Event::kSegments})
    EXPECT_FALSE(shows(plain, event)) << event_name(event);
  EXPECT_TRUE(shows("scheme=int:k4v4,g32 steps=64 k=ties v=ties", Event::kTie));
  EXPECT_TRUE(shows("scheme=int:k4v4,g32 steps=64 k=constant", Event::kConstantGroup));
  EXPECT_TRUE(shows("scheme=int:k4v4 steps=64 k=zeros", Event::kMixedZeros));
  EXPECT_TRUE(shows("scheme=int:k4v4 steps=64 k=zeros", Event::kZeroGroup));
  EXPECT_TRUE(shows("scheme=int:k3v4,g8 steps=3", Event::kPaddedGroup));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r32 steps=31,1,1", Event::kDecodeSeals));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r32 steps=31,1,1", Event::kLateSeal));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r32,profile=paper steps=31,1,1", Event::kEarlySeal));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r32 steps=40", Event::kExactRows));
  EXPECT_TRUE(shows("scheme=kivi:k8v8,r0 steps=64 k=f16-subnormal", Event::kClamp));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r0 steps=64 k=f16-subnormal", Event::kSubnormalScale));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r0 steps=64 k=f16-extreme", Event::kOverflow));
  EXPECT_TRUE(shows("scheme=fp8:e4m3 steps=64 k=f16-extreme", Event::kClamp));
  EXPECT_TRUE(shows("scheme=fp8:e4m3 steps=64 k=f16-subnormal", Event::kFlush));
  EXPECT_TRUE(shows("scheme=fp8:e4m3 steps=64", Event::kSubnormalCode));
  EXPECT_TRUE(shows("scheme=ggml:q4_0 steps=64 k=ties", Event::kClamp));
  EXPECT_TRUE(shows("scheme=fp:bf16 steps=9 k=bf16-ties", Event::kInputTie));
  EXPECT_FALSE(shows("scheme=fp:f16 steps=9 k=normal v=constant seed=4", Event::kFlush));
  EXPECT_TRUE(
      shows("scheme=fp:f16 steps=9 k=f32-extreme nonfinite=propagate", Event::kInputOverflow));
  EXPECT_TRUE(shows("scheme=fp:f16 steps=9 k=non-finite", Event::kRefused));
  EXPECT_TRUE(shows("scheme=kivi:k2v2,r32 steps=64,cut40", Event::kCutRefused));
  EXPECT_TRUE(shows("scheme=fp:f16 steps=257", Event::kSegments));
}

// Tags nest, attributes are quoted, and nothing is left unescaped.
testing::AssertionResult well_formed(const std::string& xml) {
  std::vector<std::string> open;
  size_t at = xml.find("?>") + 2;
  while (at < xml.size()) {
    if (xml[at] != '<') {
      if (xml[at] == '>' || static_cast<unsigned char>(xml[at]) < 0x09)
        return testing::AssertionFailure() << "text at " << at;
      ++at;
      continue;
    }
    size_t end = at + 1;
    for (bool quoted = false; end < xml.size() && (quoted || xml[end] != '>'); ++end) {
      if (xml[end] == '"') quoted = !quoted;
      if (xml[end] == '<') return testing::AssertionFailure() << "'<' in a tag at " << end;
    }
    const std::string tag = xml.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find(' '));
    if (tag.front() == '/') {
      if (open.empty() || "/" + open.back() != tag)
        return testing::AssertionFailure() << tag << " closes nothing";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end + 1;
  }
  if (!open.empty()) return testing::AssertionFailure() << open.back() << " stays open";
  return testing::AssertionSuccess();
}

CheckOptions with_threads(int threads) {
  CheckOptions options;
  options.threads = threads;
  return options;
}

CheckOptions quick() {
  CheckOptions options;
  options.shrink_seconds = 0.1;
  return options;
}

Family family_of(const std::string& text, Events any, Events all = {}) {
  Family family;
  family.name = "int/one";
  family.scheme = "int";
  family.any = any;
  family.all = all;
  family.cases = {parse_case(text)};
  family.cases[0].name = "int/one/0";
  family.size = 1;
  return family;
}

TEST(Mistrust, OfACaseThatHitsNothingItIsFor) {
  const std::string text = "scheme=int:k4v4 steps=9";
  const Report wrong =
      run_check({family_of(text, parse_events({"constant-group"}))}, cpu_subject(), {});
  EXPECT_EQ(wrong.mistrusted(), 1);
  EXPECT_EQ(wrong.mismatches(), 0);
  EXPECT_FALSE(wrong.good());
  EXPECT_NE(report_text(wrong).find("MISTRUSTED int/one/0"), std::string::npos);
  EXPECT_NE(report_junit(wrong).find("MISTRUSTED"), std::string::npos);
  EXPECT_TRUE(well_formed(report_junit(wrong)));
  const Report right = run_check(
      {family_of(text, parse_events({"constant-group", "grouped-heads"}))}, cpu_subject(), {});
  EXPECT_TRUE(right.good());
}

TEST(Mistrust, OfAFamilyThatNeverShowsWhatItMust) {
  const Report report = run_check(
      {family_of("scheme=int:k4v4 steps=9", {}, parse_events({"segments"}))}, cpu_subject(), {});
  EXPECT_EQ(report.lacking, std::vector<std::string>{"int/one: segments"});
  EXPECT_FALSE(report.good());
}

TEST(Report, NothingJudgedIsNotGood) {
  EXPECT_FALSE(run_check({}, cpu_subject(), {}).good());
  Subject none = cpu_subject();
  none.has = [](std::string_view) { return false; };
  const Report report = run_check({family_of("scheme=int:k4v4 steps=9", {})}, none, {});
  EXPECT_FALSE(report.good());
  EXPECT_EQ(report.without, std::vector<std::string>{"int"});
  EXPECT_NE(report_text(report).find("int: no kernels"), std::string::npos);
  EXPECT_NE(report_junit(report).find("skipped"), std::string::npos);
  EXPECT_TRUE(well_formed(report_junit(report)));
}

TEST(Report, ASubjectThatCannotBeMadeDiffers) {
  Subject thrower = cpu_subject();
  thrower.make = [](const Descriptor&, const CacheConfig&) -> std::unique_ptr<LayerCache> {
    throw environment_error("out of memory: <64> bytes & \"more\"");
  };
  const Report report = run_check({family_of("scheme=int:k4v4 steps=9", {})}, thrower, quick());
  EXPECT_EQ(report.mismatches(), 1);
  const auto json = report_json(report);
  EXPECT_EQ(json["failures"].size(), 1u);
  EXPECT_EQ(json["schemes"][0]["levels"]["E0"]["mismatches"], 1);
  EXPECT_TRUE(well_formed(report_junit(report))) << report_junit(report);
  EXPECT_NE(report_junit(report).find("&lt;64&gt; bytes &amp; &quot;more&quot;"),
            std::string::npos);
}

TEST(Report, IsTheSameAtAnyNumberOfThreads) {
  const std::vector<Family> families = select(read_families(KVX_INPUTS), {true, "fp/sequences"});
  const auto text = [&](int threads) {
    return report_text(run_check(families, cpu_subject(), with_threads(threads)));
  };
  EXPECT_EQ(text(1), text(3));
}

TEST(Report, StopsWhenAsked) {
  CheckOptions options;
  options.stop = [] { return true; };
  const Report report =
      run_check({family_of("scheme=int:k4v4 steps=9", {})}, cpu_subject(), options);
  EXPECT_TRUE(report.stopped);
  EXPECT_FALSE(report.cases[0].judged);
}

}  // namespace
}  // namespace kvx::check
