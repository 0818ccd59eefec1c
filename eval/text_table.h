// Aligned columns for people.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::eval {

// Two blanks between columns; the first `left` columns are aligned left, the others right. No
// blanks at line ends. Widths count characters of UTF-8.
std::string align_columns(const std::vector<std::vector<std::string>>& rows, size_t left);

// A field of a CSV line, quoted.
std::string csv_quoted(const std::string& text);

// 1234567 -> "1,234,567"
std::string thousands(long long value);

std::string join(std::span<const std::string_view> words, std::string_view between);

}  // namespace kvx::eval
