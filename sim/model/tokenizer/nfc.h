// Unicode normalisation form C (Unicode Standard Annex 15), as of Unicode 9.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvx::model {

// Form C of well-formed UTF-8; absent where `text` is in it already. Code points newer than Unicode
// 9 neither combine nor decompose: the tables of Hugging Face's `tokenizers` are of that version,
// and ids depend on them. Takes n log n steps, also for a long run of combining marks.
std::optional<std::string> to_nfc(std::string_view text);

}  // namespace kvx::model
