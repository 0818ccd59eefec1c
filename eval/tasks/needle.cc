#include "eval/tasks/needle.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>

#include "eval/files.h"
#include "eval/tasks/haystack.h"
#include "eval/tasks/needle_draw.h"
#include "eval/tasks/needle_kind.h"
#include "eval/tasks/needle_prompt.h"
#include "eval/tasks/needle_size.h"
#include "eval/tasks/passkey.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

constexpr int64_t kMostSamples = int64_t{1} << 20;
// Words (passkey: characters) of haystack per token at most; far more than tokenizers pack.
constexpr int64_t kMostPerToken = 16;

template <class T>
void check_list(const char* field, const std::vector<T>& values) {
  if (values.empty()) throw usage_error(fmt::format("needle: no {} given", field));
  for (auto it = values.begin(); it != values.end(); ++it)
    if (std::find(values.begin(), it, *it) != it)
      throw usage_error(fmt::format("needle: {} has {} twice", field, *it));
}

template <class T>
void check_range(const char* field, T value, T least, T most) {
  if (value < least || value > most)
    throw usage_error(fmt::format("needle: {} {}: must be {} to {}", field, value, least, most));
}

class NeedleTask final : public Task {
 public:
  NeedleTask(const NeedleSettings& settings, const model::Tokenizer& tokenizer);

  std::string_view name() const override { return "needle"; }
  int version() const override { return kNeedleVersion; }
  Json identity() const override;
  Json selection() const override;
  int64_t size() const override {
    return static_cast<int64_t>(kinds_.size() * lengths_.size() * depths_.size()) * samples_;
  }
  std::string id(int64_t index) const override { return place(index).id; }
  Sample sample(int64_t index) const override;
  std::vector<Reading> judge(const Sample& sample, std::string_view output) const override;

 private:
  struct Place {
    const NeedleKind& kind;
    int64_t length;
    int depth;
    std::string id;
  };
  // The prompt's context with `n` words (passkey: characters) of haystack.
  using Context = std::function<std::string(int64_t n)>;

  Place place(int64_t index) const;
  // Fills in all but context; the function gives that.
  Context draw(const Place& place, Sample& sample) const;
  int64_t tokens(std::string_view text, bool bos) const;
  // A usage Error where a sample of this length does not fit with the least haystack.
  void check_least(int64_t index) const;
  // The same for a sample that has the least haystack.
  void check_length(const Place& place, const Sample& sample) const;

  std::vector<NeedleKind> kinds_;
  std::vector<int64_t> lengths_;
  std::vector<int> depths_;
  int64_t samples_;
  std::optional<Haystack> haystack_;  // where a kind needs it
  std::string haystack_sha256_;
  NeedleWords words_;
  uint64_t seed_;
  bool bos_;
  const model::Tokenizer& tokenizer_;
};

NeedleTask::NeedleTask(const NeedleSettings& settings, const model::Tokenizer& tokenizer)
    : lengths_(settings.lengths),
      depths_(settings.depths),
      samples_(settings.samples),
      words_(settings.words),
      seed_(settings.seed),
      bos_(settings.bos),
      tokenizer_(tokenizer) {
  check_list("kinds", settings.kinds);
  check_list("lengths", lengths_);
  check_list("depths", depths_);
  check_range("samples", samples_, int64_t{1}, kMostSamples);
  for (const int64_t length : lengths_) check_range("length", length, int64_t{1}, kLongestNeedle);
  for (const int depth : depths_) check_range("depth", depth, 0, 100);
  for (const std::string& kind : settings.kinds) kinds_.push_back(parse_needle_kind(kind));
  for (const NeedleKind& kind : kinds_) {
    if (!kind.in_prose()) continue;
    if (words_.keys() < static_cast<size_t>(kind.keys()))
      throw usage_error(fmt::format("needle: kind {} needs {} keys, the words make {}", kind.name,
                                    kind.keys(), words_.keys()));
    if (!haystack_) haystack_.emplace(settings.haystack, settings.haystack_path);
  }
  if (haystack_) haystack_sha256_ = sha256_hex(settings.haystack);
  for (int64_t index = 0; index < size(); ++index) check_least(index);
}

Json NeedleTask::identity() const {
  // Null: of no sample yet.
  const auto of_prose = [this](const char* value) { return haystack_ ? Json(value) : Json(); };
  return {{"seed", seed_},
          {"bos", bos_ && tokenizer_.adds_bos()},
          {"shape", of_prose("ruler-shaped")},
          {"haystack_sha256", of_prose(haystack_sha256_.c_str())},
          {"words_sha256", of_prose(words_.sha256().c_str())}};
}

Json NeedleTask::selection() const {
  Json kinds = Json::array();
  for (const NeedleKind& kind : kinds_) kinds.push_back(kind.name);
  return {{"kinds", kinds}, {"lengths", lengths_}, {"depths", depths_}, {"samples", samples_}};
}

NeedleTask::Place NeedleTask::place(int64_t index) const {
  if (index < 0 || index >= size()) throw std::logic_error("no such sample");
  const int64_t number = index % samples_;
  auto cell = static_cast<size_t>(index / samples_);
  const int depth = depths_[cell % depths_.size()];
  cell /= depths_.size();
  const int64_t length = lengths_[cell % lengths_.size()];
  const NeedleKind& kind = kinds_[cell / lengths_.size()];
  return {kind, length, depth, fmt::format("{}-{}-{}-{}", kind.name, length, depth, number)};
}

NeedleTask::Context NeedleTask::draw(const Place& place, Sample& sample) const {
  const NeedleKind& kind = place.kind;
  sample.stops = {"\n"};
  sample.cell = {{"kind", kind.name},
                 {"length", std::to_string(place.length)},
                 {"depth", std::to_string(place.depth)}};
  if (!kind.in_prose()) {
    const int64_t key = draw_passkey(seed_, place.id);
    sample.question = passkey_question();
    sample.new_tokens = kPasskeyNewTokens;
    sample.expected = {std::to_string(key)};
    return
        [key, depth = place.depth](int64_t n) { return passkey_context(n, n * depth / 100, key); };
  }
  const NeedleDraw drawn =
      draw_needles(seed_, place.id, kind, place.depth, haystack_->sentences(), words_);
  const int answers = kind.answers();
  std::vector<std::string> asked;
  for (int i = 0; i < std::min(kind.keys(), answers); ++i)
    asked.push_back(drawn.needles[static_cast<size_t>(i)].key);
  for (int i = 0; i < answers; ++i)
    sample.expected.push_back(drawn.needles[static_cast<size_t>(i)].value);
  sample.question = needle_question(answers, asked);
  sample.new_tokens = kNeedleNewTokens;
  return [this, drawn, answers](int64_t n) {
    return needle_context(answers, haystack_->take(drawn.first_sentence, n), drawn.needles);
  };
}

int64_t NeedleTask::tokens(std::string_view text, bool bos) const {
  return std::ssize(tokenizer_.encode(text, bos, false));
}

void NeedleTask::check_least(int64_t index) const {
  const Place at = place(index);
  Sample sample;
  sample.context = draw(at, sample)(1);
  const size_t bytes = sample.context.size() + sample.question.size();
  if (static_cast<int64_t>(bytes) + sample.new_tokens > at.length) check_length(at, sample);
}

void NeedleTask::check_length(const Place& place, const Sample& sample) const {
  const int64_t parts = tokens(sample.context, bos_) + tokens(sample.question, false);
  const int64_t whole = tokens(sample.context + sample.question, bos_);
  const int64_t least = std::max(parts, whole) + sample.new_tokens;
  if (least > place.length)
    throw usage_error(
        fmt::format("needle: length {}: sample {} takes {} tokens with the least haystack, {} new "
                    "tokens included",
                    place.length, place.id, least, sample.new_tokens));
}

Sample NeedleTask::sample(int64_t index) const {
  const Place at = place(index);
  Sample out;
  const Context context = draw(at, out);
  const int64_t room = at.length - out.new_tokens;
  int64_t n = largest_fitting(room - tokens(out.question, false), room / 2, kMostPerToken * room,
                              [&](int64_t size) { return tokens(context(size), bos_); });
  out.context = context(n);
  for (; n > 1 && tokens(out.context + out.question, bos_) > room; --n)
    out.context = context(n - 1);
  if (n == 1) check_length(at, out);
  return out;
}

std::vector<Reading> NeedleTask::judge(const Sample& sample, std::string_view output) const {
  const bool passkey = sample.cell.front().second == "passkey";
  return {passkey ? match_first_number(sample.expected.front(), output)
                  : match_all(sample.expected, output)};
}

}  // namespace

std::unique_ptr<Task> make_needle(const NeedleSettings& settings,
                                  const model::Tokenizer& tokenizer) {
  return std::make_unique<NeedleTask>(settings, tokenizer);
}

}  // namespace kvx::eval
