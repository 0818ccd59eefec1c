// Unicode normalisation form C (Unicode Standard Annex 15).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvx::model {

// The text in form C, absent where well-formed UTF-8 `text` is in it already. Code points newer
// than utf8proc's tables (Unicode 15 in 2.8) stay as they are. Takes n log n steps, also for a
// long run of combining marks.
std::optional<std::string> to_nfc(std::string_view text);

}  // namespace kvx::model
