#include "eval/tasks/gsm8k.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "eval/files.h"
#include "eval/tasks/extract.h"
#include "eval/tasks/gsm8k_form.h"
#include "eval/tasks/python_random.h"
#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::eval {
namespace {

constexpr uint32_t kSeed = 1234;

struct Row {
  std::string question;
  std::string answer;
};

Row read_row(std::string_view line, const std::string& where) {
  const nlohmann::json json = model::parse_json(line, where);
  if (!json.is_object()) throw model::file_error(where, "is not a JSON object");
  const model::JsonFields fields(json, where);
  Row row{fields.string("question"), fields.string("answer")};
  if (row.answer.find("#### ") == row.answer.npos)
    throw fields.wrong("answer", "a text that ends with \"#### \" and a number");
  return row;
}

struct Rows {
  explicit Rows(const std::string& path) {
    const std::string text = read_file(path);
    sha256 = sha256_hex(text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      rows.push_back(read_row(std::string_view(text).substr(begin, end - begin),
                              fmt::format("{}, line {}", path, rows.size() + 1)));
      begin = end + 1;
    }
    if (rows.empty()) throw model::file_error(path, "is empty");
  }
  Json identity() const { return {{"sha256", sha256}, {"rows", rows.size()}}; }

  std::vector<Row> rows;
  std::string sha256;
};

int64_t checked(const char* name, int64_t value, int64_t low) {
  if (value < low) throw usage_error(fmt::format("gsm8k: {} {}: at least {}", name, value, low));
  return value;
}

class Gsm8k : public Task {
 public:
  explicit Gsm8k(const Gsm8kSettings& settings)
      : shots_(checked("shots", settings.shots, 0)),
        new_tokens_(checked("new tokens", settings.new_tokens, 1)),
        test_(settings.test_path) {
    const size_t limit = static_cast<size_t>(checked("limit", settings.limit, 0));
    if (!settings.end_of_text.empty()) stops_.push_back(settings.end_of_text);
    items_ = limit > 0 ? std::min(limit, test_.rows.size()) : test_.rows.size();
    if (shots_ > 0) draw_shots(settings.train_path);
  }

  std::string_view name() const override { return "gsm8k"; }
  int version() const override { return kGsm8kVersion; }
  int64_t size() const override { return static_cast<int64_t>(items_); }

  Json identity() const override {
    Json json{{"protocol", "lm-evaluation-harness gsm8k, version 3, one process"},
              {"test", test_.identity()}};
    if (train_) json["train"] = train_->identity();
    json.update({{"shots", shots_},
                 {"shots_seed", kSeed},
                 {"new_tokens", new_tokens_},
                 {"stops", stops_},
                 {"filters", answer_filters()}});
    return json;
  }
  Json selection() const override { return {{"samples", items_}}; }

  std::string id(int64_t index) const override { return fmt::format("test-{}", index); }
  Sample sample(int64_t index) const override {
    const size_t item = static_cast<size_t>(index);
    const Row& row = test_.rows.at(item);
    Sample sample;
    if (train_)
      for (const size_t shot : shot_rows_.at(item))
        sample.context += gsm8k_shot(train_->rows[shot].question, train_->rows[shot].answer);
    sample.question = gsm8k_question(row.question);
    sample.new_tokens = new_tokens_;
    sample.stops = stops_;
    sample.cell = {{"shots", std::to_string(shots_)}};
    sample.expected = {normalised(row.answer)};
    return sample;
  }

  std::vector<Reading> judge(const Sample& sample, std::string_view output) const override {
    return read_answer(output, sample.expected.at(0));
  }

 private:
  // One generator for all items, in their order.
  void draw_shots(const std::string& path) {
    train_.emplace(path);
    const size_t shots = static_cast<size_t>(shots_);
    if (shots > train_->rows.size())
      throw environment_error(
          fmt::format("{}: has {} lines, too few for {} shots", path, train_->rows.size(), shots_));
    PythonRandom random(kSeed);
    for (size_t item = 0; item < items_; ++item)
      shot_rows_.push_back(random.sample(train_->rows.size(), shots));
  }

  int64_t shots_;
  int64_t new_tokens_;
  Rows test_;
  std::optional<Rows> train_;
  size_t items_ = 0;
  std::vector<std::vector<size_t>> shot_rows_;  // [item][shot], rows of train_
  std::vector<std::string> stops_{"Question:", "</s>", "<|im_end|>"};
};

}  // namespace

std::unique_ptr<Task> make_gsm8k(const Gsm8kSettings& settings) {
  return std::make_unique<Gsm8k>(settings);
}

}  // namespace kvx::eval
