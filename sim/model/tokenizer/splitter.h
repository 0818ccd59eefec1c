// Pre-tokenization: a text is cut by one regular expression after the other; both the matches and
// what lies between them become pieces of their own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::model {

// GPT-2's split, one piece per number character, and the splits of Llama 3 and Qwen 2 as their
// tokenizer.json have them. White space is Unicode's White_Space property; letter and number
// classes are those of PCRE2's Unicode tables (14 in 10.42).
extern const char* const kGpt2Pattern;
extern const char* const kDigitPattern;
extern const char* const kLlama3Pattern;
extern const char* const kQwen2Pattern;

class Splitter {
 public:
  // Throws file_error(source, ...) for a pattern that does not compile.
  Splitter(const std::vector<std::string>& patterns, const std::string& source);
  ~Splitter();

  // The pieces of well-formed UTF-8, in order; together they are the text. Safe from several
  // threads.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Pattern;
  std::vector<std::unique_ptr<Pattern>> patterns_;
  std::string source_;
};

}  // namespace kvx::model
