// The text that perplexity is measured on.
#pragma once

#include <string>
#include <string_view>

namespace kvx::eval {

// GPTQ's WikiText text from a raw WikiText file (datautils.py of IST-DASLab/gptq): every line with
// its line end is a row, a line of white space alone an empty row, and the rows are joined by
// "\n\n". wiki.test.raw gives 1,296,370 bytes, SHA-256
// 696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83.
std::string wikitext_rows_joined(std::string_view raw);

}  // namespace kvx::eval
