// What both kinds of tokenizer do before they encode: refuse ill-formed text, and cut out the texts
// of added tokens.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::model {

// Throws an environment Error naming the offset of the first byte that is not UTF-8, or for text of
// 2^31 bytes and more.
void require_utf8(std::string_view text);

struct AddedToken {
  int32_t id = 0;
  std::string text;
  bool special = false;      // matched only if asked for
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool single_word = false;  // not where a character of a word stands beside it
  bool normalized = false;   // looked for after normalisation (by the caller)
  bool in_model = false;     // merges may make it, too
};

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // Calls `visit(segment, id)` in order: id is -1 for text between added tokens (never empty).
  // Matches are leftmost, of those the longest, and do not overlap; one that does not count (a
  // special token if not `parse_special`; a single word within another) leaves its text as it is,
  // as in Hugging Face's `tokenizers`.
  void for_each_segment(std::string_view text, bool parse_special,
                        const std::function<void(std::string_view, int32_t)>& visit) const;

 private:
  const AddedToken* match(std::string_view text) const;

  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // longest first
};

}  // namespace kvx::model
