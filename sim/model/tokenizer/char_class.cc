#include "sim/model/tokenizer/char_class.h"

#include <utf8proc.h>

#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

// Where the last character of non-empty text begins.
size_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_between(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

}  // namespace

bool is_white_space(char32_t c) {
  return is_between(c, 0x09, 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         is_between(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:  // circled and squared letters are Alphabetic
      return is_between(c, 0x24B6, 0x24E9) || is_between(c, 0x1F130, 0x1F149) ||
             is_between(c, 0x1F150, 0x1F169) || is_between(c, 0x1F170, 0x1F189);
    default:
      return c == 0x200C || c == 0x200D;  // Join_Control
  }
}

size_t leading_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && is_white_space(utf8_code_point(text, at))) at += utf8_length(text, at);
  return at;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t at = last_character(text.substr(0, end));
    if (!is_white_space(utf8_code_point(text, at))) break;
    end = at;
  }
  return text.size() - end;
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8_code_point(text, 0));
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8_code_point(text, last_character(text)));
}

}  // namespace kvx::model
