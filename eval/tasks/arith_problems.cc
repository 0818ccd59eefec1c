#include "eval/tasks/arith_problems.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "eval/number.h"

namespace kvx::eval {
namespace {

constexpr std::string_view kFile =
#include "eval/tasks/arith.inc"
    ;

int64_t value_of(const std::vector<std::pair<std::string, int64_t>>& values,
                 const std::string& name) {
  for (const auto& [known, value] : values)
    if (known == name) return value;
  throw std::logic_error("arith.json: no value " + name);
}

std::optional<int64_t> result(const std::string& op, int64_t left, int64_t right) {
  if (op == "+") return left + right;
  if (op == "-") return left - right;
  if (op == "*") return left * right;
  if (op != "/") throw std::logic_error("arith.json: no operation " + op);
  return left % right == 0 ? std::optional(left / right) : std::nullopt;
}

// Puts the words in place of their {names}.
std::string filled(std::string text,
                   const std::vector<std::pair<std::string, std::string>>& words) {
  for (const auto& [name, word] : words)
    for (size_t at = 0; (at = text.find(name, at)) != text.npos; at += word.size())
      text.replace(at, name.size(), word);
  return text;
}

}  // namespace

std::string_view ArithProblems::file() { return kFile; }

ArithProblems::ArithProblems() {
  const Json json = Json::parse(kFile);
  const auto range = [](const Json& pair) { return Range{pair.at(0), pair.at(1)}; };
  for (const Json& from : json.at("templates")) {
    Template& to = templates_.emplace_back();
    to.question = from.at("question");
    to.answer = from.at("answer");
    for (const Json& step : from.at("steps"))
      to.steps.push_back(
          {step.at("text"), step.at("left"), step.at("op"), step.at("right"), step.at("result")});
    for (const auto& [operand, ends] : from.at("ranges").items())
      to.ranges.emplace_back(operand, range(ends));
  }
  names_ = json.at("names").get<std::vector<std::string>>();
  nouns_ = json.at("nouns").get<std::vector<std::string>>();
  results_ = range(json.at("results"));
  const Json& rule = json.at("held_out");
  held_out_ = {rule.at("modulus"), rule.at("left"), rule.at("right"), rule.at("below")};
}

bool ArithProblems::solve(const Template& problem, Values& values) const {
  for (const Step& step : problem.steps) {
    const int64_t left = value_of(values, step.left);
    const int64_t right = value_of(values, step.right);
    const std::optional<int64_t> found = result(step.op, left, right);
    if (!found || *found < results_.low || *found > results_.high) return false;
    values.emplace_back(step.result, *found);
  }
  const Step& first = problem.steps.front();
  const int64_t code = value_of(values, first.left) * held_out_.left +
                       value_of(values, first.right) * held_out_.right;
  return code % held_out_.modulus < held_out_.below;
}

Problem ArithProblems::draw(size_t which, PythonRandom& random) const {
  const Template& chosen = templates_.at(which);
  Values values;
  do {
    values.clear();
    for (const auto& [operand, range] : chosen.ranges)
      values.emplace_back(operand,
                          range.low + static_cast<int64_t>(random.below(
                                          static_cast<uint64_t>(range.high - range.low + 1))));
  } while (!solve(chosen, values));

  const std::vector<size_t> people = random.sample(names_.size(), 2);
  std::vector<std::pair<std::string, std::string>> words{
      {"{name}", names_[people[0]]},
      {"{other}", names_[people[1]]},
      {"{noun}", nouns_[random.below(nouns_.size())]}};
  for (const auto& [name, value] : values)
    words.emplace_back("{" + name + "}", std::to_string(value));

  Problem problem{filled(chosen.question, words), "", chosen.steps.size()};
  for (const Step& step : chosen.steps) problem.answer += filled(step.text, words) + "\n";
  problem.answer += "#### " + std::to_string(value_of(values, chosen.answer));
  return problem;
}

}  // namespace kvx::eval
