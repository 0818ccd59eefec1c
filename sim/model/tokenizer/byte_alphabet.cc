#include "sim/model/tokenizer/byte_alphabet.h"

#include <array>

#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

constexpr int kSymbols = 0x144;  // one beyond the last code point in use
constexpr int16_t kNoByte = -1;

constexpr std::array<int16_t, kSymbols> make_bytes_by_symbol() {
  std::array<int16_t, kSymbols> out{};
  out.fill(kNoByte);
  size_t next = 0x100;
  for (size_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    out[printable ? byte : next++] = static_cast<int16_t>(byte);
  }
  return out;
}
constexpr auto kBytesBySymbol = make_bytes_by_symbol();

}  // namespace

std::optional<std::string> bytes_of_symbols(std::string_view symbols) {
  std::string out;
  for (size_t at = 0; at < symbols.size(); at += utf8_length(symbols, at)) {
    if (utf8_length(symbols, at) == 0) return {};
    const char32_t symbol = utf8_code_point(symbols, at);
    if (symbol >= kSymbols || kBytesBySymbol[symbol] == kNoByte) return {};
    out += static_cast<char>(kBytesBySymbol[symbol]);
  }
  return out;
}

}  // namespace kvx::model
