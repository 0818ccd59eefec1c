#include <gtest/gtest.h>

#include <array>
#include <regex>

#include "eval/tasks/extract.h"
#include "eval/tasks/python_random.h"

namespace kvx::eval {
namespace {

struct Case {
  std::string output, strict, flexible;  // both as compared
};

// Outputs and readings by lm-evaluation-harness 0.4.13.
TEST(Extract, ReadsAsTheHarness) {
  const std::vector<Case> cases{
      {"9*2=18. So $18.\n#### 18.", "18", "18"},  {"It is #### 7 and #### 8", "7", "8"},
      {"#### $1,000", "[invalid]", "1000"},       {"5-3", "[invalid]", "-3"},
      {"so 12 ...", "[invalid]", ".."},           {"The answer is 5", "[invalid]", "5"},
      {"a price of $", "[invalid]", "[invalid]"}, {"", "[invalid]", "[invalid]"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(normalised(strict_match(c.output)), c.strict) << c.output;
    EXPECT_EQ(normalised(flexible_extract(c.output)), c.flexible) << c.output;
  }
  EXPECT_EQ(flexible_extract("so 12 ..."), "...");
  EXPECT_EQ(strict_match("##### -1,234.5.x"), "-1,234.5.");
  EXPECT_EQ(strict_match("#### -#### 6"), "6");
}

// The patterns themselves, by the standard library, on random texts of the bytes that matter.
TEST(Extract, FindsWhatThePatternsFind) {
  const std::regex strict(R"(#### (-?[0-9.,]+))");
  const std::regex flexible(R"((-?[$0-9.,]{2,})|(-?[0-9]+))");
  PythonRandom random(11);
  int found_strict = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (uint64_t size = random.below(14); size > 0; --size) {
      constexpr std::array<const char*, 10> kPieces{"#### ", "#", " ", "-", "$",
                                                    ".",     ",", "7", "0", "x\n"};
      text += kPieces[random.below(kPieces.size())];
    }
    std::smatch match;
    const bool strictly = std::regex_search(text, match, strict);
    found_strict += strictly ? 1 : 0;
    EXPECT_EQ(strict_match(text), strictly ? match[1].str() : "[invalid]") << text;
    std::string last = "[invalid]";
    for (std::sregex_iterator it(text.begin(), text.end(), flexible), end; it != end; ++it)
      last = it->str();
    EXPECT_EQ(flexible_extract(text), last) << text;
  }
  EXPECT_GT(found_strict, 1000);
}

// re.sub of CPython 3.11, one pattern after the other, then lower().
TEST(Extract, NormalisesAsTheHarness) {
  const std::vector<std::pair<std::string, std::string>> cases{{"$1,234.50", "1234.50"},
                                                               {"18.", "18"},
                                                               {"18..", "18."},
                                                               {"18.\n", "18\n"},
                                                               {"18\n.", "18\n"},
                                                               {"one #### two\n#### 3", "3"},
                                                               {"#### ", ""},
                                                               {"####", "####"},
                                                               {"-7", "-7"},
                                                               {"[Invalid]", "[invalid]"},
                                                               {".", ""},
                                                               {"###,# 5", "5"}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(normalised(text), expected) << text;
}

}  // namespace
}  // namespace kvx::eval
