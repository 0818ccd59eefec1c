#include "eval/tasks/arith.h"

#include <fmt/core.h>

#include <numeric>
#include <set>

#include "eval/files.h"
#include "eval/tasks/arith_problems.h"
#include "eval/tasks/extract.h"
#include "eval/tasks/gsm8k_form.h"
#include "eval/tasks/python_random.h"

namespace kvx::eval {
namespace {

constexpr uint32_t kShotsSeed =
    0x80000000U;  // turns the seed of the samples into that of the shots

void check(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw usage_error(fmt::format("arith: {} {}: {} to {}", name, value, low, high));
}

class Arith : public Task {
 public:
  explicit Arith(const ArithSettings& settings) : settings_(settings) {
    check("shots", settings.shots, 0, kMostArithShots);
    check("samples", settings.samples, 1, kMostArithSamples);
    check("new tokens", settings.new_tokens, 1, INT32_MAX);
    const ArithProblems problems;
    templates_ = problems.templates();
    for (const Problem& shot : draw(problems, settings.seed ^ kShotsSeed, settings.shots))
      shots_ += gsm8k_shot(shot.question, shot.answer);
    samples_ = draw(problems, settings.seed, settings.samples);
  }

  std::string_view name() const override { return "arith"; }
  int version() const override { return kArithVersion; }
  int64_t size() const override { return settings_.samples; }

  Json identity() const override {
    return {
        {"problems", {{"sha256", sha256_hex(ArithProblems::file())}, {"templates", templates_}}},
        {"shots", settings_.shots},
        {"seed", settings_.seed},
        {"new_tokens", settings_.new_tokens},
        {"stops", stops_},
        {"filters", answer_filters()}};
  }
  Json selection() const override { return {{"samples", settings_.samples}}; }

  std::string id(int64_t index) const override { return fmt::format("problem-{}", index); }
  Sample sample(int64_t index) const override {
    const Problem& problem = samples_.at(static_cast<size_t>(index));
    Sample sample;
    sample.context = shots_;
    sample.question = gsm8k_question(problem.question);
    sample.new_tokens = settings_.new_tokens;
    sample.stops = stops_;
    sample.cell = {{"steps", std::to_string(problem.steps)}};
    sample.expected = {normalised(problem.answer)};
    return sample;
  }

  std::vector<Reading> judge(const Sample& sample, std::string_view output) const override {
    return read_answer(output, sample.expected.at(0));
  }

 private:
  // `count` problems unlike each other and unlike all drawn before; the templates in turn, in a new
  // order each time.
  std::vector<Problem> draw(const ArithProblems& problems, uint32_t seed, int64_t count) {
    PythonRandom random(seed);
    std::vector<size_t> order(templates_);
    std::vector<Problem> drawn;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      if (i % templates_ == 0) {
        std::iota(order.begin(), order.end(), size_t{0});
        random.shuffle(order);
      }
      do {
        drawn.resize(i);
        drawn.push_back(problems.draw(order[i % templates_], random));
      } while (!questions_.insert(drawn.back().question).second);
    }
    return drawn;
  }

  ArithSettings settings_;
  size_t templates_ = 0;
  std::set<std::string> questions_;
  std::string shots_;
  std::vector<Problem> samples_;
  std::vector<std::string> stops_{"Question:", "\n\n"};
};

}  // namespace

std::unique_ptr<Task> make_arith(const ArithSettings& settings) {
  return std::make_unique<Arith>(settings);
}

}  // namespace kvx::eval
