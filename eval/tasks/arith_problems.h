// Word problems made from the templates of data/tasks/arith.json, which is compiled in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/tasks/python_random.h"

namespace kvx::eval {

struct Problem {
  std::string question;
  std::string answer;  // a line per step, then "#### " and the result
  size_t steps = 0;
};

class ArithProblems {
 public:
  ArithProblems();

  static std::string_view file();  // the bytes of arith.json

  size_t templates() const { return templates_.size(); }

  // A problem for evaluation from template `which` < templates(): operands, evenly from their
  // ranges in the file's order, all again until every result is a whole number that the file allows
  // and the first step's operands are held out; then name, other name, noun.
  Problem draw(size_t which, PythonRandom& random) const;

 private:
  struct Range {
    int64_t low = 0;  // low <= operand <= high
    int64_t high = 0;
  };
  struct Step {
    std::string text, left, op, right, result;
  };
  struct Template {
    std::string question;
    std::vector<Step> steps;
    std::vector<std::pair<std::string, Range>> ranges;
    std::string answer;  // the name of the last result
  };
  using Values = std::vector<std::pair<std::string, int64_t>>;

  // Whether the results are allowed; appends them to the operands.
  bool solve(const Template& problem, Values& values) const;

  std::vector<Template> templates_;
  std::vector<std::string> names_, nouns_;
  Range results_;
  struct {
    int64_t modulus = 0, left = 0, right = 0, below = 0;
  } held_out_;
};

}  // namespace kvx::eval
