#include "eval/tasks/needle_prompt.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <numeric>

namespace kvx::eval {
namespace {

// "a", "a, and b", "a, b, and c".
std::string listed(std::span<const std::string> keys) {
  if (keys.size() == 1) return keys.front();
  return fmt::format("{}, and {}", fmt::join(keys.first(keys.size() - 1), ", "), keys.back());
}

}  // namespace

std::string needle_context(int answers, std::span<const std::string_view> sentences,
                           std::span<const Needle> needles) {
  std::vector<size_t> order(needles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto place = [&](size_t needle) {
    return sentences.size() * static_cast<size_t>(needles[needle].depth) / 100;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return place(a) < place(b); });
  std::string out =
      answers == 1
          ? "A special magic number is hidden within the following text. Make sure to memorize it. "
            "I will quiz you about the number afterwards.\n"
          : "Some special magic numbers are hidden within the following text. Make sure to "
            "memorize "
            "it. I will quiz you about the numbers afterwards.\n";
  auto next = order.begin();
  for (size_t i = 0;; ++i) {
    for (; next != order.end() && place(*next) == i; ++next)
      fmt::format_to(std::back_inserter(out), "One of the special magic numbers for {} is: {}. ",
                     needles[*next].key, needles[*next].value);
    if (i == sentences.size()) break;
    out += sentences[i];
    out += ' ';
  }
  out.back() = '\n';
  return out;
}

std::string needle_question(int answers, std::span<const std::string> keys) {
  const std::string list = listed(keys);
  return answers == 1
             ? fmt::format(
                   "What is the special magic number for {0} mentioned in the provided text? "
                   "The special magic number for {0} mentioned in the provided text is",
                   list)
             : fmt::format(
                   "What are all the special magic numbers for {0} mentioned in the provided "
                   "text? The special magic numbers for {0} mentioned in the provided text "
                   "are",
                   list);
}

Reading match_all(std::span<const std::string> expected, std::string_view output) {
  std::vector<std::string_view> found;
  for (const std::string& value : expected)
    if (output.find(value) != std::string_view::npos) found.push_back(value);
  Reading reading{"match", "[invalid]", 0};
  if (!found.empty()) reading.extracted = fmt::format("{}", fmt::join(found, ", "));
  reading.score = static_cast<double>(found.size()) / static_cast<double>(expected.size());
  return reading;
}

}  // namespace kvx::eval
