// Classes of characters that decide where an added token may stand.
#pragma once

#include <string_view>

namespace kvx::model {

// Unicode's White_Space.
bool is_white_space(char32_t c);

// \w of UTS 18, Annex C: Alphabetic, M, Nd, Pc, Join_Control.
bool is_word(char32_t c);

// Of well-formed text: bytes of white space at its begin and at its end; whether its first and last
// character is one of a word.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

}  // namespace kvx::model
