#include "tests/support/text_lines.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "sim/gen/random.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::test {
namespace {

using Text = std::string_view;

struct Range {
  char32_t first;
  char32_t last;
  int64_t size() const { return last - first + 1; }
};
constexpr Range kAssigned[] = {
#include "tests/support/unicode14.inc"
};

// Letters, digits and marks by script; a word is drawn from one row.
constexpr Range kScripts[] = {
    {'a', 'z'},         {'A', 'Z'},         {0xC0, 0xD6},       {0xDF, 0xF6},
    {0x100, 0x17F},     {0x1E00, 0x1EFF},   {0x391, 0x3A1},     {0x3B1, 0x3C9},
    {0x1F00, 0x1F15},   {0x410, 0x44F},     {0x531, 0x556},     {0x5D0, 0x5EA},
    {0x621, 0x652},     {0x904, 0x94D},     {0x985, 0x98C},     {0xB85, 0xB8A},
    {0xC05, 0xC39},     {0xE01, 0xE3A},     {0xF40, 0xF7E},     {0x1000, 0x103A},
    {0x10D0, 0x10FA},   {0x1200, 0x1248},   {0x13A0, 0x13F5},   {0x1780, 0x17D3},
    {0x1820, 0x1878},   {0x3041, 0x3096},   {0x30A1, 0x30FA},   {0x4E00, 0x9FFC},
    {0xAC00, 0xD7A3},   {0x1100, 0x1112},   {0xA000, 0xA48C},   {0x10400, 0x1044F},
    {0x12000, 0x12399}, {0x1D400, 0x1D454}, {0x1D7CE, 0x1D7FF}, {0x20000, 0x2A6DD}};
constexpr Range kDigits[] = {{'0', '9'},       {0x660, 0x669},   {0x966, 0x96F},
                             {0xFF10, 0xFF19}, {0x2160, 0x2188}, {0xB2, 0xB3},
                             {0x2070, 0x2079}, {0xBC, 0xBE},     {0x1369, 0x137C}};
constexpr Range kMarks[] = {{0x300, 0x36F},   {0x591, 0x5BD},   {0x64B, 0x65F},    {0x93C, 0x93C},
                            {0x94D, 0x94D},   {0x9BC, 0x9BE},   {0xE38, 0xE3A},    {0xF71, 0xF74},
                            {0x1161, 0x1175}, {0x11A8, 0x11C2}, {0x1DC0, 0x1DFA},  {0x20D0, 0x20F0},
                            {0x3099, 0x309A}, {0xFE20, 0xFE2F}, {0x1D165, 0x1D172}};
constexpr Range kEmoji[] = {{0x1F600, 0x1F64F}, {0x1F300, 0x1F5FF}, {0x1F680, 0x1F6C5},
                            {0x1F900, 0x1F9FF}, {0x2600, 0x26FF},   {0x2700, 0x27BF},
                            {0x1F1E6, 0x1F1FF}, {0x1F3FB, 0x1F3FF}};
constexpr char32_t kSpaces[] = {' ',    '\t',   '\n',   '\r',   0x0B,   0x0C,   0x85,
                                0xA0,   0x1680, 0x180E, 0x2000, 0x2003, 0x200B, 0x2028,
                                0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF, 0x2581};

constexpr Text kWords[] = {"the",        " of",     " and",     " language",
                           " model",     " The",    "ing",      " quantization",
                           " In",        " 1984",   " was",     " @-@",
                           " network",   " is",     "HTTP",     " perplexity",
                           "naïve",      " Straße", "привет",   " мир",
                           " مرحبا",     " שלום",   " नमस्ते",    "你好世界",
                           "こんにちは", " 한국어", "ไทย",      " ქართული",
                           " tiếng",     " Việt",   "Ελληνικά", " été",
                           "don't",      " I'LL",   " we've",   "She'S",
                           " they'RE",   "o'clock", " I'm",     "'d'D'ſ",
                           "x²",         " ½",      "Ⅻ",        " ﬁne",
                           "Ångström",   " (see",   "\").",     " --",
                           "...",        "!?!",     " $9.99",   "50%",
                           "#1",         " e-mail", "@user",    "C++"};
constexpr Text kCode[] = {"for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n",
                          "def f(x):\n    return x ** 2  # 3.14e-10\n",
                          "        if self.x is None:\r\n            raise ValueError('x')\r\n",
                          "<div class=\"a\">&amp;</div>",
                          "SELECT * FROM t WHERE a!='x''y';",
                          "\\s+(?!\\S)|\\p{N}",
                          "a_b__c---d...e",
                          "{\"key\": [1, 2.5e-3, null, true]}",
                          "#include <vector>\n\n\n",
                          "https://example.org/a?b=c&d=%20#e",
                          "0xDEADbeef 1_000_000 0b1010",
                          "\\frac{1}{\\sqrt{2\\pi}}"};
constexpr Text kSpecial[] = {
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>",    "</s>",        "<unk>",
    "<0x0A>",        "<0xE2>",       "<|",         "[INST]", "<tool_call>", "<|begin_of_text|>",
    "<mark>",        "<pad>",        "<sep>"};
constexpr Text kEmojiSequences[] = {
    "👩‍👩‍👧‍👦",    "🇩🇪🇫🇷",           "👍🏽", "❤️", "1️⃣",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👨🏿‍🚀"};

// Draws of one line: counter-based, so that no line depends on another.
class Draws {
 public:
  Draws(uint64_t seed, int64_t line) : source_{seed, 0, 0}, line_(static_cast<uint64_t>(line)) {}

  // Of 0 to n - 1. (The bias of the remainder does not matter here.)
  int64_t below(int64_t n) {
    return static_cast<int64_t>(source_.words(line_ << 32 | count_++)[0] %
                                static_cast<uint64_t>(n));
  }
  template <class T, size_t N>
  const T& of(const T (&list)[N]) {
    return list[below(N)];
  }
  char32_t in(const Range& range) {
    return range.first + static_cast<char32_t>(below(range.size()));
  }

 private:
  gen::Source source_;
  uint64_t line_;
  uint64_t count_ = 0;
};

void add_repeated(std::string& out, char32_t c, int64_t count) {
  for (int64_t i = 0; i < count; ++i) model::append_utf8(c, out);
}

void add_word(Draws& draw, const Range& script, std::string& out) {
  if (draw.below(2) == 0) out += ' ';
  for (int64_t n = 1 + draw.below(9); n > 0; --n) model::append_utf8(draw.in(script), out);
}

void add_fragment(Draws& draw, std::string& out) {
  const auto times = [&](int64_t most, auto add) {
    for (int64_t n = 1 + draw.below(most); n > 0; --n) add();
  };
  const auto put = [&](char32_t c) { model::append_utf8(c, out); };
  switch (draw.below(16)) {
    case 0:
    case 1:
    case 2:
      return times(6, [&] { out += draw.of(kWords); });
    case 3:
    case 4:
      return add_word(draw, draw.of(kScripts), out);
    case 5:
      return times(30, [&] { out += static_cast<char>('0' + draw.below(10)); });
    case 6: {
      const Range digits = draw.of(kDigits);
      return times(6, [&] { put(draw.in(digits)); });
    }
    case 7:
      return add_repeated(out, ' ', 1 + draw.below(40));
    case 8:
      return times(5, [&] { put(draw.of(kSpaces)); });
    case 9:
      out += draw.of(kCode);
      return;
    case 10:
      return times(3, [&] { put(draw.in({0, 0x1F})); });
    case 11:
      return put(draw.in({0x7F, 0x9F}));
    case 12:
      if (draw.below(2) == 0) out += draw.of(kEmojiSequences);
      return times(4, [&] { put(draw.in(draw.of(kEmoji))); });
    case 13:
      put(draw.in(draw.of(kScripts)));
      return times(6, [&] { put(draw.in(draw.of(kMarks))); });
    case 14:
      out += draw.of(kSpecial);
      return;
    default:
      return times(8, [&] { put(draw.in(draw.of(kAssigned))); });
  }
}

int64_t assigned() {
  static const int64_t count = [] {
    int64_t sum = 0;
    for (const Range& range : kAssigned) sum += range.size();
    return sum;
  }();
  return count;
}

// Code points `begin` to `end` of those assigned.
void add_assigned(int64_t begin, int64_t end, std::string& out) {
  for (const Range& range : kAssigned) {
    for (int64_t i = std::max<int64_t>(begin, 0); i < std::min(end, range.size()); ++i) {
      model::append_utf8(range.first + static_cast<char32_t>(i), out);
    }
    begin -= range.size();
    end -= range.size();
  }
}

}  // namespace

std::string text_line(uint64_t seed, int64_t index) {
  constexpr int64_t kWalk = 3;  // one line in three has its share of the assigned code points
  constexpr int64_t kShares = kTextLines / kWalk;
  Draws draw(seed, index);
  std::string out;
  if (index % 51 == 1) return out;
  for (int64_t n = draw.below(9); n > 0; --n) add_fragment(draw, out);
  if (index % kWalk == 0) {
    const int64_t share = (assigned() + kShares - 1) / kShares;
    const int64_t begin = index / kWalk % kShares * share;
    add_assigned(begin, std::min(begin + share, assigned()), out);
  }
  for (int64_t n = draw.below(9); n > 0; --n) add_fragment(draw, out);
  return out;
}

std::vector<std::string> long_text_lines() {
  constexpr int64_t kLength = 100000;
  std::vector<std::string> out;
  for (const char c : {' ', '\n', '\t', '1', 'a', '=', '\'', '\0'}) out.emplace_back(kLength, c);
  out.push_back(std::string(kLength, ' ') + "x");
  for (const Range& range : {Range{'a', 'z'}, Range{'0', '9'}, Range{'!', '~'}, Range{0, ' '}}) {
    Draws draw(kTextSeed, kTextLines + static_cast<int64_t>(out.size()));
    std::string& line = out.emplace_back();
    for (int64_t i = 0; i < kLength; ++i) line += static_cast<char>(draw.in(range));
  }
  for (const char32_t c : {char32_t{0x4E2D}, char32_t{0x1F600}, char32_t{0x301}}) {
    add_repeated(out.emplace_back(), c, kLength / 4);
  }
  std::string& marks = out.emplace_back("q");  // every second one has to move to the front
  for (int i = 0; i < kLength / 4; ++i) marks += "\u0301\u0323";
  std::string& vowels = out.emplace_back();
  for (int i = 0; i < kLength / 4; ++i) vowels += "e\u0301";
  return out;
}

std::vector<std::string> text_lines() {
  std::vector<std::string> out;
  for (int64_t i = 0; i < kTextLines; ++i) out.push_back(text_line(kTextSeed, i));
  for (std::string& line : long_text_lines()) out.push_back(std::move(line));
  return out;
}

}  // namespace kvx::test
