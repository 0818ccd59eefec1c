// UTF-8 as the Unicode standard defines it: no overlong forms, no surrogates, nothing beyond
// U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvx::model {

// Offset of the first byte that does not belong to a well-formed sequence, or npos.
size_t find_invalid_utf8(std::string_view text);

// Length in bytes of the well-formed sequence at `at`; 0 if there is none.
size_t utf8_length(std::string_view text, size_t at);

// The code point at `at` of well-formed text.
char32_t utf8_code_point(std::string_view text, size_t at);

void append_utf8(char32_t code_point, std::string& out);

}  // namespace kvx::model
