// Prose in which needles are hidden: a text cut into words and sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::eval {

// A word is a run of bytes without white space (ASCII's: blank, \t \n \v \f \r). A sentence ends
// with a word whose last bytes, closing quotes and brackets (" ' ) ] } U+2019 U+201D U+00BB) left
// out, are . ! or ?, and at the end of the text.
class Haystack {
 public:
  // `path` is named in errors. Throws an environment Error for text that is not UTF-8 or in which
  // no word ends a sentence.
  Haystack(std::string_view text, const std::string& path);

  int64_t sentences() const { return static_cast<int64_t>(sentences_.size()); }
  int64_t words() const { return words_; }

  // `words` words from the start of sentence `first` on, 0 <= first < sentences(), as sentences
  // whose words one blank separates. After the last sentence comes the first one again; the last
  // sentence given may be cut. Valid as long as the haystack.
  std::vector<std::string_view> take(int64_t first, int64_t words) const;

 private:
  struct Sentence {
    size_t begin = 0;  // bytes [begin, end) of squeezed_
    size_t end = 0;
    int64_t words = 0;
  };

  std::string squeezed_;  // the words, one blank between them
  std::vector<Sentence> sentences_;
  int64_t words_ = 0;
};

}  // namespace kvx::eval
