#include "eval/tasks/extract.h"

#include <algorithm>
#include <utility>

namespace kvx::eval {
namespace {

constexpr std::string_view kMark = "#### ";
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kStrict = "0123456789.,";
constexpr std::string_view kFlexible = "$0123456789.,";

size_t end_of_run(std::string_view text, size_t begin, std::string_view of) {
  return std::min(text.find_first_not_of(of, begin), text.size());
}

}  // namespace

std::string strict_match(std::string_view output) {
  for (size_t mark = 0; (mark = output.find(kMark, mark)) != output.npos; ++mark) {
    const size_t begin = mark + kMark.size();
    const size_t digits = begin + (output.substr(begin).starts_with('-') ? 1 : 0);
    const size_t end = end_of_run(output, digits, kStrict);
    if (end > digits) return std::string(output.substr(begin, end - begin));
  }
  return std::string(kInvalid);
}

// No match ends inside a run of kFlexible, and a minus sign is no part of one: the matches are the
// runs, each with the minus sign before it, except single bytes that are not digits.
std::string flexible_extract(std::string_view output) {
  for (size_t rest = output.size(); rest > 0;) {
    const size_t last = output.substr(0, rest).find_last_of(kFlexible);
    if (last == output.npos) break;
    size_t begin = output.substr(0, last).find_last_not_of(kFlexible) + 1;
    const size_t size = last + 1 - begin;
    rest = begin;
    if (size == 1 && kDigits.find(output[last]) == kDigits.npos) continue;
    if (begin > 0 && output[begin - 1] == '-') --begin;
    return std::string(output.substr(begin, last + 1 - begin));
  }
  return std::string(kInvalid);
}

std::string normalised(std::string_view answer) {
  std::string text(answer);
  std::erase(text, ',');
  std::erase(text, '$');
  if (const size_t mark = text.rfind(kMark); mark != text.npos) text.erase(0, mark + kMark.size());
  const size_t line_end = text.ends_with('\n') ? 1 : 0;
  if (const size_t size = text.size() - line_end; size > 0 && text[size - 1] == '.')
    text.erase(size - 1, 1);
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::vector<Reading> read_answer(std::string_view output, std::string_view gold) {
  const auto reading = [gold](const char* filter, std::string extracted) {
    const double score = normalised(extracted) == gold ? 1 : 0;
    return Reading{filter, std::move(extracted), score};
  };
  return {reading("strict", strict_match(output)), reading("flexible", flexible_extract(output))};
}

Json answer_filters() {
  return {{"strict", {{"pattern", R"(#### (\-?[0-9\.\,]+))"}, {"match", "first"}}},
          {"flexible", {{"pattern", R"((-?[$0-9.,]{2,})|(-?[0-9]+))"}, {"match", "last"}}},
          {"removed_before_comparing", {",", R"(\$)", R"((?s).*#### )", R"(\.$)"}},
          {"case", "lower"}};
}

}  // namespace kvx::eval
