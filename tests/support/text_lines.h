// Lines of text that tokenizers are compared on: words of many scripts, contractions, code, runs of
// spaces and digits, control characters (NUL and line breaks among them), emoji, combining marks in
// any order, texts of special tokens, and every code point of Unicode 14. Valid UTF-8 all of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvx::test {

inline constexpr uint64_t kTextSeed = 1;
inline constexpr int64_t kTextLines = 12000;  // a whole set; each code point is in one of them

// A function of seed and index alone. Some lines are empty, most have 20 to 300 bytes.
std::string text_line(uint64_t seed, int64_t index);

// Lines of 50 to 100 KB that a split pattern or a merge loop could take quadratic time on.
std::vector<std::string> long_text_lines();

// The whole set: the lines of kTextSeed, then the long ones.
std::vector<std::string> text_lines();

}  // namespace kvx::test
