#include "sim/model/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

// Below U+0300 every character is in form C and nothing combines.
constexpr char32_t kFirstCombining = 0x300;

// What came with Unicode 10 to 18 and has a combining class or a part in a canonical decomposition
// (from UnicodeData and DerivedAge).
struct Range {
  char32_t first;
  char32_t last;
};
constexpr Range kNewer[] = {
    {0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},
    {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},
    {0x1715, 0x1715},   {0x1ABF, 0x1AF0},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
    {0x105C9, 0x105C9}, {0x105D2, 0x105D2}, {0x105DA, 0x105DA}, {0x105E4, 0x105E4},
    {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10ECB, 0x10ECF},
    {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11382, 0x11385}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x11391}, {0x113B8, 0x113B8}, {0x113BB, 0x113BB},
    {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113C9}, {0x113CE, 0x113D0},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x1611E, 0x16129},
    {0x1612F, 0x1612F}, {0x16D63, 0x16D63}, {0x16D67, 0x16D6A}, {0x16FF0, 0x16FF1},
    {0x1D127, 0x1D128}, {0x1D250, 0x1D252}, {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F},
    {0x1D280, 0x1D281}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3},
    {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}};

bool is_newer(char32_t c) {
  const Range* found =
      std::upper_bound(std::begin(kNewer), std::end(kNewer), c,
                       [](char32_t value, const Range& range) { return value < range.first; });
  return found != std::begin(kNewer) && c <= found[-1].last;
}

using CodePoints = std::vector<utf8proc_int32_t>;

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Canonical order, which utf8proc_decompose would make in quadratic time.
void order_marks(CodePoints& text) {
  const auto is_starter = [](auto c) { return combining_class(c) == 0; };
  for (auto at = text.begin(); at != text.end();) {
    const auto begin = std::find_if_not(at, text.end(), is_starter);
    at = std::find_if(begin, text.end(), is_starter);
    std::stable_sort(begin, at,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
  }
}

void append_nfc(CodePoints& decomposed, std::string& out) {
  order_marks(decomposed);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto count = utf8proc_normalize_utf32(
      decomposed.data(), static_cast<utf8proc_ssize_t>(decomposed.size()), options);
  if (count < 0) throw std::logic_error(utf8proc_errmsg(count));
  decomposed.resize(static_cast<size_t>(count));
  for (const utf8proc_int32_t c : decomposed) append_utf8(static_cast<char32_t>(c), out);
  decomposed.clear();
}

void decompose(char32_t c, CodePoints& out) {
  std::array<utf8proc_int32_t, 8> parts{};  // canonical decompositions have up to 4
  int boundary = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                              static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
  if (count < 0 || static_cast<size_t>(count) > parts.size()) {
    throw std::logic_error("a canonical decomposition of more than 8 characters");
  }
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

}  // namespace

std::optional<std::string> to_nfc(std::string_view text) {
  bool combines = false;
  for (size_t at = 0; at < text.size() && !combines; at += utf8_length(text, at)) {
    combines = utf8_code_point(text, at) >= kFirstCombining;
  }
  if (!combines) return {};
  std::string out;
  CodePoints run;  // decomposed, since the last newer character
  for (size_t at = 0; at < text.size(); at += utf8_length(text, at)) {
    const char32_t c = utf8_code_point(text, at);
    if (is_newer(c)) {
      append_nfc(run, out);
      append_utf8(c, out);
    } else {
      decompose(c, run);
    }
  }
  append_nfc(run, out);
  if (out == text) return {};
  return out;
}

}  // namespace kvx::model
