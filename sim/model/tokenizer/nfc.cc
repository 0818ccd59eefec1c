#include "sim/model/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

// Below U+0300 nothing combines and nothing decomposes for good: such text is in form C.
constexpr char32_t kFirstCombining = 0x300;

bool is_plainly_nfc(std::string_view text) {
  for (size_t at = 0; at < text.size(); at += utf8_length(text, at)) {
    if (utf8_code_point(text, at) >= kFirstCombining) return false;
  }
  return true;
}

std::vector<utf8proc_int32_t> decomposed(std::string_view text) {
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += utf8_length(text, at)) {
    constexpr size_t kMaxDecomposition = 8;  // canonical ones have up to 4 code points
    utf8proc_int32_t parts[kMaxDecomposition];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(utf8_code_point(text, at)), parts, kMaxDecomposition,
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
    if (count < 0 || static_cast<size_t>(count) > kMaxDecomposition) {
      throw std::logic_error("utf8proc decomposes one character into more than 8");
    }
    out.insert(out.end(), parts, parts + count);
  }
  return out;
}

auto combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Canonical order; utf8proc_decompose does it too, in quadratic time.
void order_marks(std::vector<utf8proc_int32_t>& text) {
  for (auto at = text.begin(); at != text.end();) {
    if (combining_class(*at) == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(at, text.end(), [](auto c) { return combining_class(c) == 0; });
    std::stable_sort(at, end,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
}

}  // namespace

std::optional<std::string> to_nfc(std::string_view text) {
  if (is_plainly_nfc(text)) return {};
  std::vector<utf8proc_int32_t> points = decomposed(text);
  order_marks(points);
  const auto count =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (count < 0) throw std::logic_error(utf8proc_errmsg(count));
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(static_cast<char32_t>(points[static_cast<size_t>(i)]), out);
  }
  if (out == text) return {};
  return out;
}

}  // namespace kvx::model
