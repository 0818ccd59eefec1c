// The text that a model is run on.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/model/tokenizer.h"

namespace kvx::eval {

// GPTQ's WikiText text from a raw WikiText file (datautils.py of IST-DASLab/gptq): every line with
// its line end is a row, a line of white space alone an empty row, and the rows are joined by
// "\n\n". wiki.test.raw gives 1,296,370 bytes, SHA-256
// 696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83.
std::string wikitext_rows_joined(std::string_view raw);

// Choices of --format, and what its help says.
inline constexpr std::array<std::string_view, 2> kTextFormats{"text", "wikitext-raw"};
inline constexpr const char* kTextFormatsHelp =
    "text: the bytes of the file; wikitext-raw: rows of wiki.test.raw joined as GPTQ does";

// The files that `paths` name, in the order of their names; a folder stands for its files, hidden
// ones aside. Throws an environment Error for a folder that cannot be read or has none.
std::vector<std::string> text_files(std::span<const std::string> paths);

// Ids of `text`, which came from the file at `data_path`, a BOS in front where `add_bos` and the
// model's files ask for one. Throws an environment Error naming the file, or the model's path for
// an id that is not below `vocab`.
std::vector<int32_t> token_ids(const model::Tokenizer& tokenizer, std::string_view text,
                               const std::string& data_path, const std::string& model_path,
                               int64_t vocab, bool add_bos = true);

}  // namespace kvx::eval
