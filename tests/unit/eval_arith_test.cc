#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "eval/files.h"
#include "eval/tasks/arith.h"
#include "eval/tasks/arith_problems.h"
#include "eval/tasks/gsm8k_form.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

struct Equation {
  int64_t left, right, result;
  char op;
};

// The equations of a solved problem, line by line.
std::vector<Equation> equations(const std::string& answer) {
  static const std::regex pattern(R"((\d+) ([-+*/]) (\d+) = (\d+))");
  std::vector<Equation> found;
  for (std::sregex_iterator it(answer.begin(), answer.end(), pattern), end; it != end; ++it)
    found.push_back(
        {std::stoll((*it)[1]), std::stoll((*it)[3]), std::stoll((*it)[4]), (*it)[2].str().front()});
  return found;
}

bool holds(const Equation& e) {
  switch (e.op) {
    case '+':
      return e.left + e.right == e.result;
    case '-':
      return e.left - e.right == e.result;
    case '*':
      return e.left * e.right == e.result;
    default:
      return e.right * e.result == e.left;
  }
}

TEST(ArithProblems, FileIsTheOneOfTheRepository) {
  EXPECT_EQ(ArithProblems::file(), read_file(KVX_ARITH_JSON));
}

TEST(ArithProblems, EveryTemplateGivesSolvedProblems) {
  const ArithProblems problems;
  ASSERT_GE(problems.templates(), 24u);
  PythonRandom random(5);
  std::map<size_t, int> with_steps;
  for (size_t which = 0; which < problems.templates(); ++which) {
    for (int i = 0; i < 100; ++i) {
      const Problem problem = problems.draw(which, random);
      SCOPED_TRACE(problem.question + "\n" + problem.answer);
      EXPECT_EQ((problem.question + problem.answer).find_first_of("{}"), std::string::npos);
      const std::vector<Equation> steps = equations(problem.answer);
      ASSERT_EQ(steps.size(), problem.steps);
      for (const Equation& step : steps) {
        EXPECT_TRUE(holds(step));
        EXPECT_GE(step.result, 2);
        EXPECT_LE(step.result, 999);
        if (step.op == '*') {
          EXPECT_LE(std::min(step.left, step.right), 12);
          EXPECT_LE(std::max(step.left, step.right), 99);
        }
        if (step.op == '/') {
          EXPECT_LE(step.right, 12);
          EXPECT_LE(step.left, 144);
        }
      }
      EXPECT_LT((steps[0].left * 55 + steps[0].right * 27) % 101, 20);
      const std::string last = "\n#### " + std::to_string(steps.back().result);
      EXPECT_TRUE(problem.answer.ends_with(last));
    }
    ++with_steps[problems.draw(which, random).steps];
  }
  for (const size_t steps : {1, 2, 3}) EXPECT_GT(with_steps[steps], 3) << steps;
}

TEST(Arith, PromptsAreAsDescribed) {
  const auto task = make_arith({});
  EXPECT_EQ(task->name(), "arith");
  ASSERT_EQ(task->size(), 200);
  const Sample first = task->sample(0);
  EXPECT_TRUE(first.context.starts_with(
      "Question: Tobias has 41 bells. Clara gives Tobias 85 more and then another 97. How many "
      "bells does Tobias have now?\nAnswer: Tobias has 41 + 85 = 126 bells.\nThen Tobias has 126 + "
      "97 = 223 bells.\n#### 223\n\nQuestion: Josefa"));
  EXPECT_EQ(first.question,
            "Question: Quentin has 8 boxes. There are 3 stamps in each box. How many stamps does "
            "Quentin have?\nAnswer:");
  EXPECT_EQ(first.new_tokens, 128);
  EXPECT_EQ(first.stops, (std::vector<std::string>{"Question:", "\n\n"}));
  EXPECT_EQ(first.expected, std::vector<std::string>{"24"});
  EXPECT_EQ(first.cell.at(0).second, "1");
}

// tests/oracle/arith_prompts.py, in Python.
TEST(Arith, PromptsAreThoseOfAnotherProgram) {
  std::ifstream stored(KVX_ARITH_PROMPTS);
  stored.ignore(1000, '\n');
  ArithSettings settings;
  std::string sha256;
  int lines = 0;
  for (; stored >> settings.shots >> settings.samples >> settings.seed >> sha256; ++lines)
    EXPECT_EQ(prompts_sha256(*make_arith(settings)), sha256) << settings.shots << " shots";
  EXPECT_EQ(lines, 3);
}

TEST(Arith, SamplesDifferShareTheirShotsAndSpreadOverTheTemplates) {
  const auto task = make_arith({.shots = 20, .samples = 340, .seed = 3});
  std::set<std::string> questions, ids;
  std::map<std::string, int> steps;
  for (int64_t i = 0; i < task->size(); ++i) {
    const Sample sample = task->sample(i);
    EXPECT_EQ(sample.context, task->sample(0).context);
    EXPECT_EQ(sample.context.find(sample.question), std::string::npos);
    questions.insert(sample.question);
    ids.insert(task->id(i));
    ++steps[sample.cell.at(0).second];
  }
  EXPECT_EQ(questions.size(), 340u);
  EXPECT_EQ(ids.size(), 340u);
  // Ten rounds of 9, 19 and 6 templates.
  EXPECT_EQ(steps, (std::map<std::string, int>{{"1", 90}, {"2", 190}, {"3", 60}}));
}

TEST(Arith, MoreSamplesAndOtherShotsKeepTheQuestions) {
  const auto few = make_arith({.shots = 8, .samples = 50}), many = make_arith({.shots = 0});
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(few->sample(i).question, many->sample(i).question);
  EXPECT_EQ(many->sample(0).context, "");
  EXPECT_NE(make_arith({.seed = 2})->sample(0).question, many->sample(0).question);
}

TEST(Arith, JudgesAsGsm8kDoes) {
  const auto task = make_arith({.samples = 1});
  const Sample sample = task->sample(0);
  const auto scores = [&](std::string_view output) {
    const std::vector<Reading> readings = task->judge(sample, output);
    EXPECT_EQ(readings.at(0).filter, "strict");
    EXPECT_EQ(readings.at(1).filter, "flexible");
    return std::pair(readings[0].score, readings[1].score);
  };
  EXPECT_EQ(scores(" Quentin has 8 * 3 = 24 stamps.\n#### 24"), std::pair(1.0, 1.0));
  EXPECT_EQ(scores(" Quentin has 8 * 3 = 24"), std::pair(0.0, 1.0));
  EXPECT_EQ(scores(" Quentin has 8 * 3 = 25 stamps.\n#### 25"), std::pair(0.0, 0.0));
  EXPECT_EQ(scores(""), std::pair(0.0, 0.0));
}

TEST(Arith, IdentityHoldsWhatDecidesPromptsAndScores) {
  const Json json = make_arith({})->identity();
  EXPECT_EQ(json.at("problems").at("sha256"), sha256_hex(read_file(KVX_ARITH_JSON)));
  EXPECT_NE(json, make_arith({.seed = 2})->identity());
  EXPECT_NE(json, make_arith({.new_tokens = 64})->identity());
  EXPECT_EQ(json, make_arith({})->identity());
}

TEST(Arith, RefusesSettingsOutOfRange) {
  const auto refused = [](const ArithSettings& settings, const std::string& message) {
    try {
      make_arith(settings);
      ADD_FAILURE() << "was accepted, not: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::kUsage);
      EXPECT_EQ(error.what(), message);
    }
  };
  refused({.shots = -1}, "arith: shots -1: 0 to 64");
  refused({.shots = 65}, "arith: shots 65: 0 to 64");
  refused({.samples = 0}, "arith: samples 0: 1 to 100000");
  refused({.samples = 100001}, "arith: samples 100001: 1 to 100000");
  refused({.new_tokens = 0}, "arith: new tokens 0: 1 to 2147483647");
}

}  // namespace
}  // namespace kvx::eval
