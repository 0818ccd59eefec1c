// The alphabet of byte-level BPE (GPT-2): every byte is written as one printable character. Bytes
// that are printable Latin-1 stand for themselves, the others for U+0100 and up, in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvx::model {

// The bytes that UTF-8 `symbols` stand for; absent if a character is not of the alphabet.
std::optional<std::string> bytes_of_symbols(std::string_view symbols);

}  // namespace kvx::model
