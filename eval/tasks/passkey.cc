#include "eval/tasks/passkey.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/tasks/python_random.h"

namespace kvx::eval {
namespace {

// The first `count` characters of the filler sentence repeated with single blanks.
std::string filler_text(int64_t count) {
  constexpr std::string_view kFiller =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  std::string out;
  const auto size = static_cast<size_t>(count);
  out.reserve(size);
  while (out.size() < size) out += kFiller.substr(0, size - out.size());
  return out;
}

}  // namespace

std::string passkey_context(int64_t filler, int64_t place, int64_t key) {
  return fmt::format(
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
      "them. "
      "I will quiz you about the important information there.\n{}\nThe pass key is {}. Remember "
      "it. "
      "{} is the pass key.\n{}\n",
      filler_text(place), key, key, filler_text(filler - place));
}

std::string passkey_question() { return "What is the pass key? The pass key is"; }

LongLoraPasskey longlora_passkey(int64_t filler, uint32_t seed) {
  NumpyRandom random(seed);
  LongLoraPasskey out;
  out.place = random.integer(0, filler);
  out.key = random.integer(1, static_cast<int64_t>(kPasskeyKeys) + 1);
  out.prompt = passkey_context(filler, out.place, out.key) + passkey_question();
  return out;
}

Reading match_first_number(std::string_view key, std::string_view output) {
  constexpr std::string_view kDigits = "0123456789";
  Reading reading{"match", "[invalid]", 0};
  const size_t begin = output.find_first_of(kDigits);
  if (begin == std::string_view::npos) return reading;
  const size_t end = std::min(output.find_first_not_of(kDigits, begin), output.size());
  const std::string_view run = output.substr(begin, end - begin);
  reading.extracted = run;
  reading.score = run.substr(std::min(run.find_first_not_of('0'), run.size())) == key ? 1 : 0;
  return reading;
}

}  // namespace kvx::eval
