// Claims judged on numbers made by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "eval/reproduce/judge.h"

namespace kvx::reproduce {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const MetricKind* kind(std::string_view name) {
  for (const MetricKind& one : metric_kinds())
    if (one.name == name) return &one;
  throw std::runtime_error("no metric " + std::string(name));
}

Claim claim(ClaimKind of, std::string_view metric = "kl", double margin = 0,
            bool relative = false) {
  Claim out;
  out.kind = of;
  out.text = "a claim";
  out.metric = {kind(metric), "all"};
  out.margin = margin;
  out.relative = relative;
  return out;
}

// As many windows as can tell anything.
std::vector<double> enough(const std::vector<double>& values) {
  std::vector<double> out;
  while (std::ssize(out) < kFewestUnits) out.insert(out.end(), values.begin(), values.end());
  return out;
}

Verdict of(const Claim& one, const std::vector<double>& subject, const std::vector<double>& base) {
  return judge_step(one, {enough(subject), enough(base)}, 1).verdict;
}

// Every window moves the same way, so every resample does.
TEST(Judge, AnOrderingIsHeldWhereEveryWindowHasIt) {
  const Claim one = claim(ClaimKind::kOrdering);
  EXPECT_EQ(of(one, {1, 2, 3, 4}, {1.5, 2.5, 3.5, 4.5}), Verdict::kHeld);
  EXPECT_EQ(of(one, {1.5, 2.5, 3.5, 4.5}, {1, 2, 3, 4}), Verdict::kNotHeld);
}

// The mean differs by 0.1, windows by +-3: half of the resamples turn it round.
TEST(Judge, AnOrderingWithinTheNoiseCannotBeTold) {
  const Claim one = claim(ClaimKind::kOrdering);
  EXPECT_EQ(of(one, {1, 7, 1, 7}, {4, 4.4, 4, 4}), Verdict::kNotDistinguishable);
}

TEST(Judge, EqualRowsAreNoOrderingButALadderAndABoundHold) {
  const std::vector<double> same{1, 2, 3};
  EXPECT_EQ(of(claim(ClaimKind::kOrdering), same, same), Verdict::kNotDistinguishable);
  EXPECT_EQ(of(claim(ClaimKind::kLadder), same, same), Verdict::kHeld);
  EXPECT_EQ(of(claim(ClaimKind::kBound, "kl", 0), same, same), Verdict::kHeld);
}

TEST(Judge, FewWindowsTellNothing) {
  for (const ClaimKind any : {ClaimKind::kOrdering, ClaimKind::kBound, ClaimKind::kLadder}) {
    const Step step = judge_step(claim(any, "kl", 0), {{1}, {9}}, 1);
    EXPECT_FALSE(step.interval);
    EXPECT_EQ(step.verdict, Verdict::kNotDistinguishable);
    EXPECT_EQ(step.value, -8);
    EXPECT_EQ(step.units, 1);
    const auto of_count = [&](size_t count) {
      return judge_step(claim(any, "kl", 0),
                        {std::vector<double>(count, 1), std::vector<double>(count, 9)}, 1)
          .verdict;
    };
    EXPECT_EQ(of_count(5), Verdict::kNotDistinguishable);
    EXPECT_EQ(of_count(6), Verdict::kHeld);
  }
}

// Perplexity e^2 against e^2 + 0.25 of every window.
TEST(Judge, AnAbsoluteBoundIsOnTheMetricItself) {
  const double above = std::log(std::exp(2.0) + 0.25);
  const std::vector<double> subject{above, above, above}, base{2, 2, 2};
  EXPECT_EQ(of(claim(ClaimKind::kBound, "ppl", 0.26), subject, base), Verdict::kHeld);
  EXPECT_EQ(of(claim(ClaimKind::kBound, "ppl", 0.24), subject, base), Verdict::kNotHeld);
  const Step step =
      judge_step(claim(ClaimKind::kBound, "ppl", 0.26), {enough(subject), enough(base)}, 1);
  EXPECT_NEAR(step.value, 0.25, 1e-12);
  ASSERT_TRUE(step.interval);
  EXPECT_NEAR(step.interval->low, 0.25, 1e-12);
  EXPECT_NEAR(step.interval->high, 0.25, 1e-12);
}

// ln 1.02 more nats: a perplexity 2 % larger.
TEST(Judge, ARelativeBoundIsAShareOfTheOther) {
  const double more = std::log(1.02);
  const std::vector<double> subject{3 + more, 1 + more, 2 + more}, base{3, 1, 2};
  const Step step =
      judge_step(claim(ClaimKind::kBound, "ppl", 0.021, true), {enough(subject), enough(base)}, 1);
  EXPECT_NEAR(step.value, 0.02, 1e-12);
  EXPECT_EQ(step.verdict, Verdict::kHeld);
  EXPECT_EQ(of(claim(ClaimKind::kBound, "ppl", 0.019, true), subject, base), Verdict::kNotHeld);
}

TEST(Judge, ABoundThatTheIntervalCrossesCannotBeTold) {
  const Claim one = claim(ClaimKind::kBound, "kl", 1);
  EXPECT_EQ(of(one, {0, 2, 0, 2}, {0, 0, 0, 0}), Verdict::kNotDistinguishable);
  EXPECT_EQ(of(one, {0.5, 0.9, 0.5, 0.9}, {0, 0, 0, 0}), Verdict::kHeld);
  EXPECT_EQ(of(one, {1.5, 2, 1.5, 2}, {0, 0, 0, 0}), Verdict::kNotHeld);
}

// Better than the base is within any bound.
TEST(Judge, ABoundIsOneSided) {
  EXPECT_EQ(of(claim(ClaimKind::kBound, "kl", 0.1), {1, 2}, {5, 6}), Verdict::kHeld);
}

TEST(Judge, WhatIsNotFiniteIsTheWorst) {
  const Claim one = claim(ClaimKind::kOrdering);
  EXPECT_EQ(of(one, {1, 2}, {kNan, kNan}), Verdict::kHeld);
  EXPECT_EQ(of(one, {1, 2}, {kInf, kInf}), Verdict::kHeld);
  EXPECT_EQ(of(one, {kNan, kInf}, {1, 2}), Verdict::kNotHeld);
  EXPECT_EQ(of(one, {kNan, kNan}, {kInf, kInf}), Verdict::kNotDistinguishable);
}

// Units whose KL is given.
report::Series series(const std::vector<double>& values) {
  report::Series out;
  const std::vector<double> all = enough(values);
  for (size_t i = 0; i < all.size(); ++i) {
    auto unit = std::make_shared<report::Unit>();
    report::WindowScores scores;
    scores.kl_mean = all[i];
    unit->scores = scores;
    out.units[std::to_string(i)] = std::move(unit);
  }
  return out;
}

class Ladder : public testing::Test {
 protected:
  Judgement judged(const std::vector<std::string>& rows) const {
    Claim one = claim(ClaimKind::kLadder);
    one.rows = rows;
    return judge(
        one, [this](const std::string& row) -> const report::Series& { return rows_.at(row); }, 1);
  }

  const std::map<std::string, report::Series> rows_{{"worst", series({9, 8, 9})},
                                                    {"middle", series({5, 4, 5})},
                                                    {"best", series({1, 2, 1})},
                                                    {"best?", series({2, 0.5, 1.5})}};
};

TEST_F(Ladder, IsHeldWhereEveryStepIs) {
  const Judgement all = judged({"worst", "middle", "best"});
  EXPECT_EQ(all.verdict, Verdict::kHeld);
  ASSERT_EQ(all.steps.size(), 2u);
  EXPECT_EQ(all.steps[0].subject, "middle");
  EXPECT_EQ(all.steps[0].base, "worst");
  EXPECT_NEAR(all.steps[0].value, -4, 1e-12);
  EXPECT_EQ(all.steps[1].subject, "best");
  EXPECT_NEAR(all.steps[1].value, 4.0 / 3 - 14.0 / 3, 1e-12);
}

TEST_F(Ladder, IsNotHeldWhereOneStepIsNot) {
  const Judgement all = judged({"worst", "best", "middle", "best?"});
  EXPECT_EQ(all.steps[0].verdict, Verdict::kHeld);
  EXPECT_EQ(all.steps[1].verdict, Verdict::kNotHeld);
  EXPECT_EQ(all.steps[2].verdict, Verdict::kHeld);
  EXPECT_EQ(all.verdict, Verdict::kNotHeld);
}

TEST_F(Ladder, CannotBeToldWhereOneStepCannot) {
  const Judgement all = judged({"worst", "best", "best?"});
  EXPECT_EQ(all.steps[1].verdict, Verdict::kNotDistinguishable);
  EXPECT_EQ(all.verdict, Verdict::kNotDistinguishable);
}

TEST_F(Ladder, AnOrderingPutsItsFirstRowBesideItsSecond) {
  Claim one = claim(ClaimKind::kOrdering);
  one.rows = {"best", "worst"};
  const auto series_of = [this](const std::string& row) -> const report::Series& {
    return rows_.at(row);
  };
  const Judgement held = judge(one, series_of, 1);
  ASSERT_EQ(held.steps.size(), 1u);
  EXPECT_EQ(held.steps[0].subject, "best");
  EXPECT_EQ(held.steps[0].base, "worst");
  EXPECT_EQ(held.verdict, Verdict::kHeld);
  one.rows = {"worst", "best"};
  EXPECT_EQ(judge(one, series_of, 1).verdict, Verdict::kNotHeld);
}

// Over layers 0.1 and 0.3.
TEST(Metric, ErrorsAreMeansOverLayers) {
  report::Unit unit;
  unit.scores = report::ErrorScores{{{0.1, 1, 2, 3}, {0.3, 5, 6, 7}}};
  EXPECT_NEAR(kind("error.k")->value(unit), 0.2, 1e-15);
  EXPECT_NEAR(kind("error.v")->value(unit), 3, 1e-15);
  EXPECT_NEAR(kind("error.weights")->value(unit), 4, 1e-15);
  EXPECT_NEAR(kind("error.out")->value(unit), 5, 1e-15);
}

}  // namespace
}  // namespace kvx::reproduce
