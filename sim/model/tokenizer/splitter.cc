#include "sim/model/tokenizer/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstring>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 160> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// Where the two engines read a pattern differently: \s of PCRE2 also takes U+180E, which is no
// White_Space since Unicode 6.3; word characters, their boundaries, \h, (?m) and && of classes
// mean something else.
std::string from_oniguruma(const std::string& pattern, const std::string& source) {
  const auto unsupported = [&](const std::string& what) {
    return file_error(source, fmt::format("split pattern {} has {}: not supported: missing "
                                          "Oniguruma's meaning of it",
                                          printable(pattern), what));
  };
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    for (const char* different : {"&&", "(?m"}) {
      if (pattern.compare(i, std::strlen(different), different) == 0) throw unsupported(different);
    }
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      out += "\\p{White_Space}";
    } else if (escaped == 'S') {
      out += "\\P{White_Space}";
    } else if (std::string_view("wWbBhH").find(escaped) != std::string_view::npos) {
      throw unsupported(std::string("\\") + escaped);
    } else {
      out += {'\\', escaped};
    }
  }
  return out;
}

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;

// ^ and $ match at lines, as Oniguruma's do; nothing may match half a character.
constexpr uint32_t kCompileOptions =
    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;

// A pattern that backtracks without end fails, with an error that says so.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 512 * 1024;

pcre2_match_context* match_limits() {
  static const MatchContext context = [] {
    MatchContext made(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(made.get(), kMatchLimit);
    pcre2_set_heap_limit(made.get(), kHeapLimitKib);
    return made;
  }();
  return context.get();
}

// Compiled code first; where that needs a deeper stack than it has, the interpreter.
int match_at(const pcre2_code* code, std::string_view text, size_t at, pcre2_match_data* match) {
  const auto run = [&](uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                       PCRE2_NO_UTF_CHECK | options, match, match_limits());
  };
  const int found = run(0);
  return found == PCRE2_ERROR_JIT_STACKLIMIT ? run(PCRE2_NO_JIT) : found;
}

}  // namespace

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kDigitPattern = R"(\p{N})";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Splitter::Pattern {
  std::unique_ptr<pcre2_code, Freer<pcre2_code_free>> code;

  void split(std::string_view text, const std::string& source, pcre2_match_data* match,
             std::vector<std::string_view>& out) const {
    size_t done = 0;  // where the last piece ended
    for (size_t at = 0; at < text.size();) {
      const int found = match_at(code.get(), text, at, match);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        throw file_error(source, fmt::format("the split pattern fails: {}", pcre2_message(found)));
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
      const size_t begin = range[0];
      const size_t end = range[1];
      // An empty match cuts nothing. (A look-behind can make a match begin before `at`: \K does.)
      if (end <= begin || begin < done) {
        at += utf8_length(text, at);
        continue;
      }
      if (begin > done) out.push_back(text.substr(done, begin - done));
      out.push_back(text.substr(begin, end - begin));
      done = at = end;
    }
    if (done < text.size()) out.push_back(text.substr(done));
  }
};

Splitter::Splitter(const std::vector<std::string>& patterns, const std::string& source)
    : source_(source) {
  for (const std::string& text : patterns) {
    const std::string pattern = from_oniguruma(text, source_);
    int error = 0;
    PCRE2_SIZE offset = 0;
    auto compiled = std::make_unique<Pattern>();
    compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       kCompileOptions, &error, &offset, nullptr));
    if (!compiled->code) {
      throw file_error(source_, fmt::format("split pattern {} does not compile: {} at {}",
                                            printable(text), pcre2_message(error), offset));
    }
    pcre2_jit_compile(compiled->code.get(),
                      PCRE2_JIT_COMPLETE);  // without it matching is slower, not different
    patterns_.push_back(std::move(compiled));
  }
}

Splitter::~Splitter() = default;

std::vector<std::string_view> Splitter::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const auto& pattern : patterns_) {
    const MatchData match(pcre2_match_data_create_from_pattern(pattern->code.get(), nullptr));
    std::vector<std::string_view> next;
    for (const std::string_view piece : pieces) pattern->split(piece, source_, match.get(), next);
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace kvx::model
