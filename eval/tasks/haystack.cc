#include "eval/tasks/haystack.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "sim/api/error.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::eval {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";
constexpr std::array<std::string_view, 8> kClosing{"\"", "'",      ")",      "]",
                                                   "}",  "\u2019", "\u201d", "\u00bb"};

bool ends_sentence(std::string_view word) {
  for (;;) {
    const auto* const closing =
        std::find_if(kClosing.begin(), kClosing.end(),
                     [&](std::string_view end) { return word.ends_with(end); });
    if (closing == kClosing.end()) break;
    word.remove_suffix(closing->size());
  }
  return word.ends_with('.') || word.ends_with('!') || word.ends_with('?');
}

// The first `words` words of a sentence that has at least as many.
std::string_view cut(std::string_view sentence, int64_t words) {
  size_t end = 0;
  for (; words > 0; --words) end = sentence.find(' ', end + 1);
  return sentence.substr(0, end);
}

}  // namespace

Haystack::Haystack(std::string_view text, const std::string& path) {
  if (const size_t at = model::find_invalid_utf8(text); at != std::string_view::npos)
    throw environment_error(fmt::format("{}: byte {} (0x{:02x}) is not valid UTF-8", path, at,
                                        static_cast<unsigned char>(text[at])));
  squeezed_.reserve(text.size());
  bool any_end = false;
  Sentence open;
  for (size_t begin = text.find_first_not_of(kWhiteSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kWhiteSpace, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = text.find_first_not_of(kWhiteSpace, end);
    if (!squeezed_.empty()) squeezed_ += ' ';
    if (open.words == 0) open.begin = squeezed_.size();
    squeezed_ += word;
    ++open.words;
    const bool ends = ends_sentence(word);
    any_end |= ends;
    if (!ends && begin != std::string_view::npos) continue;
    open.end = squeezed_.size();
    words_ += open.words;
    sentences_.push_back(open);
    open = {};
  }
  if (!any_end)
    throw environment_error(
        fmt::format("{}: no sentence: none of its {} words ends in '.', '!' or '?'", path, words_));
}

std::vector<std::string_view> Haystack::take(int64_t first, int64_t words) const {
  if (first < 0 || first >= sentences()) throw std::logic_error("no such sentence");
  std::vector<std::string_view> out;
  for (auto at = static_cast<size_t>(first); words > 0; at = (at + 1) % sentences_.size()) {
    const Sentence& sentence = sentences_[at];
    const auto whole =
        std::string_view(squeezed_).substr(sentence.begin, sentence.end - sentence.begin);
    out.push_back(words < sentence.words ? cut(whole, words) : whole);
    words -= sentence.words;
  }
  return out;
}

}  // namespace kvx::eval
