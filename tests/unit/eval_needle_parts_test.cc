// The parts of the task `needle`: words, haystack, wording, draws, sizes, scores.
#include <gtest/gtest.h>

#include <set>

#include "eval/files.h"
#include "eval/tasks/haystack.h"
#include "eval/tasks/needle_draw.h"
#include "eval/tasks/needle_prompt.h"
#include "eval/tasks/needle_size.h"
#include "eval/tasks/needle_words.h"
#include "eval/tasks/passkey.h"
#include "tests/data.h"
#include "tests/support/expect_refused.h"
#include "tests/support/temp_dir.h"

namespace kvx::eval {
namespace {

using Strings = std::vector<std::string>;
using Views = std::vector<std::string_view>;

TEST(Haystack, CutsWordsIntoSentences) {
  const Haystack text(
      "  One  two.\nThree (four!)  \u201cFive?\u201d six\tseven... eight e.g. nine\n.x \"",
      "x.txt");
  EXPECT_EQ(text.words(), 12);
  ASSERT_EQ(text.sentences(), 6);
  EXPECT_EQ(text.take(0, 12), (Views{"One two.", "Three (four!)", "\u201cFive?\u201d",
                                     "six seven...", "eight e.g.", "nine .x \""}));
  EXPECT_EQ(text.take(1, 1), (Views{"Three"}));
  EXPECT_EQ(text.take(4, 3), (Views{"eight e.g.", "nine"}));
  EXPECT_EQ(text.take(5, 8),
            (Views{"nine .x \"", "One two.", "Three (four!)", "\u201cFive?\u201d"}));
  EXPECT_TRUE(text.take(2, 0).empty());
  EXPECT_THROW(text.take(6, 1), std::logic_error);
}

TEST(Haystack, RepeatsAShortText) {
  const Haystack text("Yes. No!", "x.txt");
  EXPECT_EQ(text.take(1, 5), (Views{"No!", "Yes.", "No!", "Yes.", "No!"}));
}

TEST(Haystack, RefusesWhatIsNoProse) {
  const auto make = [](std::string_view text) { return [text] { Haystack(text, "dir/x.txt"); }; };
  test::expect_refused(make("A b\xff. c"), {"dir/x.txt", "byte 3", "0xff"});
  test::expect_refused(make(""), {"dir/x.txt", "no sentence"});
  test::expect_refused(make(" \n "), {"dir/x.txt", "no sentence"});
  test::expect_refused(make("no end ) \" .a"), {"dir/x.txt", "no sentence", "5 words"});
}

// Whole prompts of RULER's niah_single_1 (filler lines, joined by line ends): its generator gives
// key, value and line of the first sample, the hashes are of what it wrote.
std::string ruler_single(int lines, int line, const Needle& needle) {
  const std::string task = needle_context(1, {}, {});
  const std::string filler =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";
  std::string out = task;
  for (int i = 0; i <= lines; ++i)
    out += i == line ? needle_context(1, {}, {{needle}}).substr(task.size()) : filler;
  return out + needle_question(1, Strings{needle.key});
}

TEST(NeedlePrompt, SaysWhatRulerSays) {
  EXPECT_EQ(sha256_hex(ruler_single(73, 12, {"capable-radiosonde", "7374122", 0})).substr(0, 16),
            "6a1986f4e4912dc8");
  EXPECT_EQ(sha256_hex(ruler_single(155, 11, {"jittery-hospital", "5437923", 0})).substr(0, 16),
            "027a6c2eac70f1dd");
}

TEST(NeedlePrompt, PutsNeedlesBetweenSentencesAndAsksForAll) {
  const Views sentences{"One.", "Two.", "Three.", "Four"};
  const std::vector<Needle> needles{{"a-b", "1000001", 49},
                                    {"c-d", "1000002", 100},
                                    {"e-f", "1000003", 25},
                                    {"g-h", "1000004", 0}};
  EXPECT_EQ(
      needle_context(4, sentences, needles),
      "Some special magic numbers are hidden within the following text. Make sure to memorize "
      "it. I will quiz you about the numbers afterwards.\n"
      "One of the special magic numbers for g-h is: 1000004. One. "
      "One of the special magic numbers for a-b is: 1000001. "
      "One of the special magic numbers for e-f is: 1000003. Two. Three. Four "
      "One of the special magic numbers for c-d is: 1000002.\n");
  EXPECT_EQ(needle_question(2, Strings{"a-b"}),
            "What are all the special magic numbers for a-b mentioned in the provided text? The "
            "special magic numbers for a-b mentioned in the provided text are");
  EXPECT_EQ(needle_question(2, Strings{"a-b", "c-d"}).substr(0, 67),
            "What are all the special magic numbers for a-b, and c-d mentioned i");
  EXPECT_EQ(needle_question(3, Strings{"a-b", "c-d", "e-f"}).substr(0, 67),
            "What are all the special magic numbers for a-b, c-d, and e-f mentio");
}

TEST(NeedlePrompt, ScoresTheShareOfValuesContained) {
  const Strings expected{"1234567", "7654321", "1111111", "2222222"};
  const Reading three = match_all(expected, " 7654321,1234567 and 52222222.");
  EXPECT_EQ(three.filter, "match");
  EXPECT_EQ(three.score, 0.75);
  EXPECT_EQ(three.extracted, "1234567, 7654321, 2222222");
  const Reading none = match_all(expected, "123456 7");
  EXPECT_EQ(none.score, 0);
  EXPECT_EQ(none.extracted, "[invalid]");
}

TEST(NeedleDraw, DrawsKeysValuesAndDepthsOnce) {
  const NeedleWords words{{"red", "blue"}, {"a", "b", "c", "d", "e", "f", "g", "h"}};
  const std::set<int> ruler{0,  3,  5,  8,  10, 13, 15, 18, 21, 23, 26, 28, 31, 33,
                            36, 38, 41, 44, 46, 49, 51, 54, 56, 59, 62, 64, 67, 69,
                            72, 74, 77, 79, 82, 85, 87, 90, 92, 95, 97, 100};
  for (int number = 0; number < 50; ++number) {
    const NeedleDraw drawn =
        draw_needles(1, std::to_string(number), parse_needle_kind("multikey16"), 100, 7, words);
    std::set<std::string> keys, values;
    std::set<int> depths;
    for (const Needle& needle : drawn.needles) {
      keys.insert(needle.key);
      values.insert(needle.value);
      depths.insert(needle.depth);
      EXPECT_TRUE(ruler.contains(needle.depth)) << needle.depth;
    }
    EXPECT_EQ(keys.size(), 16U);
    EXPECT_EQ(values.size(), 16U);
    EXPECT_EQ(depths.size(), 16U);
    EXPECT_EQ(drawn.needles[0].depth, 100);
    EXPECT_GE(drawn.first_sentence, 0);
    EXPECT_LT(drawn.first_sentence, 7);
    const int64_t key = draw_passkey(1, std::to_string(number));
    EXPECT_GE(key, 1);
    EXPECT_LE(key, 49999);
  }
}

TEST(NeedleSize, FindsTheLargestThatFitsInFewQuestions) {
  for (const int64_t room : {1, 2, 3, 7, 100, 4096, 130000}) {
    // 0.7, 1 and 13.25 tokens a unit, some of them bunched.
    for (const auto& rate : {std::pair{7, 10}, {1, 1}, {53, 4}}) {
      int asked = 0;
      const auto tokens = [&](int64_t n) {
        ++asked;
        return (n - 1) * rate.first / rate.second + n / 40;
      };
      const int64_t found =
          largest_fitting(room, std::max<int64_t>(room / 2, 1), 16 * room, tokens);
      EXPECT_LE(asked, 14) << room;
      EXPECT_LE(tokens(found), room);
      EXPECT_GT(tokens(found + 1), room);
    }
  }
  EXPECT_EQ(largest_fitting(10, 5, 160, [](int64_t) { return 3; }), 160);
  EXPECT_EQ(largest_fitting(10, 5, 160, [](int64_t n) { return n == 1 ? 3 : 300; }), 1);
}

// LongLoRA's passkey_retrivial.py with numpy.
TEST(Passkey, MakesLongLorasPrompts) {
  const LongLoraPasskey zero = longlora_passkey(3072, 0);
  EXPECT_EQ(zero.place, 2732);
  EXPECT_EQ(zero.key, 43568);
  EXPECT_EQ(zero.prompt.size(), 3319U);
  EXPECT_EQ(sha256_hex(zero.prompt).substr(0, 16), "e7c6aa7c67435192");
  const LongLoraPasskey one = longlora_passkey(3072, 1);
  EXPECT_EQ(one.place, 1061);
  EXPECT_EQ(one.key, 33004);
  EXPECT_EQ(sha256_hex(one.prompt).substr(0, 16), "843a78c8d11c617a");
  const LongLoraPasskey longer = longlora_passkey(14336, 1);
  EXPECT_EQ(longer.place, 13349);
  EXPECT_EQ(sha256_hex(longer.prompt).substr(0, 16), "61885ecc3923b3d7");
}

TEST(Passkey, ReadsTheFirstNumber) {
  const auto read = [](const char* output) { return match_first_number("407", output); };
  EXPECT_EQ(read(" 407.").extracted, "407");
  EXPECT_EQ(read(" 407.").score, 1);
  EXPECT_EQ(read("x00407y 9").score, 1);
  EXPECT_EQ(read("x00407y 9").extracted, "00407");
  for (const char* wrong : {"4070", "40 7", "1407", "-", "9 407", "18446744073709552023", "000"})
    EXPECT_EQ(read(wrong).score, 0) << wrong;
  EXPECT_EQ(read("none").extracted, "[invalid]");
}

TEST(NeedleWords, AreThoseOfTheRepository) {
  const NeedleWords& words = embedded_needle_words();
  const NeedleWords file = read_needle_words(KVX_NEEDLE_WORDS);
  EXPECT_EQ(words.adjectives, file.adjectives);
  EXPECT_EQ(words.nouns, file.nouns);
  EXPECT_GE(words.adjectives.size(), 120U);
  EXPECT_GE(words.nouns.size(), 200U);
  for (const Strings& list : {words.adjectives, words.nouns})
    for (const std::string& word : list)
      EXPECT_EQ(word.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), std::string::npos) << word;
}

TEST(NeedleWords, MakeKeysAndHash) {
  const NeedleWords words{{"red", "blue"}, {"house", "boat", "tree"}};
  EXPECT_EQ(words.keys(), 6U);
  EXPECT_EQ(words.key(0), "red-house");
  EXPECT_EQ(words.key(4), "blue-boat");
  EXPECT_EQ(words.sha256(), sha256_hex("red\nblue\n\nhouse\nboat\ntree\n"));
}

TEST(NeedleWords, ReadsWonderwords) {
  KVX_NEED_DATA(path, "words");
  const NeedleWords words = read_needle_words(path);
  // Of 912 adjectives "nasty " and "wet " are there twice but for a blank.
  EXPECT_EQ(words.adjectives.size(), 910U);
  EXPECT_EQ(words.nouns.size(), 6782U);
  EXPECT_EQ(words.key(0), "quizzical-ATM");
}

TEST(NeedleWords, RefusesMalformedLists) {
  const auto parse = [](const std::string& json) {
    return [json] { parse_needle_words(json, "w.json"); };
  };
  const std::string nouns = R"("nouns": ["a"]})";
  test::expect_refused(parse("{"), {"w.json", "not valid JSON"});
  test::expect_refused(parse("\xff"), {"w.json", "not valid JSON"});
  test::expect_refused(parse("1e999"), {"w.json", "not valid JSON"});
  test::expect_refused(parse("[]"), {"w.json", "not a JSON object"});
  test::expect_refused(parse("{" + nouns), {"w.json", "'adjectives' is missing"});
  test::expect_refused(parse(R"({"adjectives": "a", )" + nouns),
                       {R"('adjectives' is '"a"', not a list of words)"});
  test::expect_refused(parse(R"({"adjectives": [], )" + nouns),
                       {"'adjectives' is '[]', not a list of words"});
  test::expect_refused(parse(R"({"adjectives": ["a", 7], )" + nouns),
                       {"'adjectives[1]' is of type number"});
  test::expect_refused(parse(R"({"adjectives": ["a", "a"], )" + nouns), {"'adjectives[1]'", "'a'"});
  test::expect_refused(parse(R"({"adjectives": [""], )" + nouns), {"'adjectives[0]' is empty"});
  test::expect_refused(parse(R"({"adjectives": ["a\n"], )" + nouns), {"control character 0x0a"});
  test::expect_refused(parse(R"({"adjectives": [" a"], )" + nouns), {"begins or ends"});
  test::expect_refused(parse(R"({"adjectives": [")" + std::string(65, 'a') + R"("], )" + nouns),
                       {"65 bytes"});
}

TEST(NeedleWords, ReadsAFolderOfLists) {
  const test::TempDir dir;
  write_file(dir.path() / "adjectivelist.txt", "red \r\n\nblue\nred\n");
  test::expect_refused([&] { read_needle_words(dir.path()); }, {"nounlist.txt"});
  write_file(dir.path() / "nounlist.txt", "ice cream\nboat");
  const NeedleWords words = read_needle_words(dir.path());
  EXPECT_EQ(words.adjectives, (Strings{"red", "blue"}));
  EXPECT_EQ(words.nouns, (Strings{"ice cream", "boat"}));
  write_file(dir.path() / "nounlist.txt", "boat\n\nca\xff\n");
  test::expect_refused([&] { read_needle_words(dir.path()); }, {"nounlist.txt: line 3", "UTF-8"});
  write_file(dir.path() / "nounlist.txt", "\n \n");
  test::expect_refused([&] { read_needle_words(dir.path()); }, {"nounlist.txt", "has no words"});
}

}  // namespace
}  // namespace kvx::eval
