#include "eval/text.h"

namespace kvx::eval {

std::string wikitext_rows_joined(std::string_view raw) {
  std::string text;
  text.reserve(raw.size() + raw.size() / 64);
  for (size_t begin = 0; begin < raw.size();) {
    const size_t newline = raw.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? raw.size() : newline + 1;
    const std::string_view row = raw.substr(begin, end - begin);
    if (begin > 0) text += "\n\n";
    if (row.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos) text += row;
    begin = end;
  }
  return text;
}

}  // namespace kvx::eval
